"""All ways by which anything leaves this machine; nothing outside this package knows how to reach another one.

There are two. By the `door` goes what a caller names: it is allowed by the operator's `rules`, looked through for
secrets, entered, then sent by the `network`. By the `upstream` way a gateway's calls go to the services that its
operator has configured.
"""
