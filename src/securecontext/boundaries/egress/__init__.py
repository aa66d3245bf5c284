"""The one door by which anything leaves this machine: allowed, looked through for secrets, entered, then sent."""
