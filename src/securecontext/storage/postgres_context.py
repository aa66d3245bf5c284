"""What the database makes of a signed context: who acts, in which project, and what that lets them see and keep.

Each policy asks one of these once per statement, as ``(SELECT …)``, and compares what it answers with the row. What
somebody may see of texts are labels: ``<project>/<notebook>/<class>``, with ``/<author>`` where only the author may,
and ``*`` for every notebook or author. The rule is that of `boundaries.sight`; a test holds both against each other.

Their search paths and bodies are bound when they are made, so that no search path of a caller's changes what they call.
"""

from __future__ import annotations

from typing import Final

from securecontext.storage import acting
from securecontext.types.classification import CLASSIFICATIONS, SEALED

_ALL: Final = f"'{{{','.join(CLASSIFICATIONS)}}}'::text[]"
_HERE: Final = f"'{{{','.join(c for c in CLASSIFICATIONS if c != 'restricted')}}}'::text[]"
_ELSEWHERE: Final = f"'{{{','.join(c for c in CLASSIFICATIONS if c not in SEALED)}}}'::text[]"
_BOUND: Final = "LANGUAGE plpgsql STABLE SET search_path = securecontext, pg_temp"
_KEEP: Final = f"'{acting.KEEP}', '{acting.PURGE}'"
_DECLARED: Final = f"""
    DECLARE
      acts CONSTANT text[] := who_acts();
      place CONSTANT text := split_part(acts[2], '@', 1);
      kind CONSTANT text := acts[4];
      duty CONSTANT text := acts[6];
      notebooks CONSTANT text[] := CASE WHEN duty = '{acting.PURGE}' AND acts[5] = 'orchestrator' THEN '{{*}}'
        ELSE string_to_array(acts[7], ',') END;
      here CONSTANT boolean := acts[8] = 'here';
"""
WITH_TEXTS: Final = (acting.SERVICE, acting.PROJECTS, acting.RESCAN, acting.RETENTION)
"""Parts of the service that keep texts in order, whosever they are."""
_KEEPERS: Final = f"'{{{','.join(part.duty for part in WITH_TEXTS)}}}'"
_CLASSES: Final = f"""
      classes CONSTANT text[] := CASE
        WHEN duty = '{acting.SURVEY}' OR duty = ANY({_KEEPERS}) THEN {_ALL}
        WHEN kind NOT IN ('agent', 'person') THEN '{{}}'
        WHEN NOT here THEN {_ELSEWHERE}
        WHEN kind = 'person' OR duty IN ({_KEEP}) THEN {_ALL}
        ELSE {_HERE} END;
      own CONSTANT text[] := CASE WHEN kind = 'agent' AND here THEN ARRAY['restricted/' || acts[3]] ELSE '{{}}' END;
"""

BEGAN: Final = (
    "CREATE OR REPLACE FUNCTION transaction_began() RETURNS bigint LANGUAGE sql STABLE AS"
    " $$ SELECT (extract(epoch FROM pg_catalog.transaction_timestamp()) * 1000000)::bigint $$"
)
_WHO_ACTS: Final = """
    CREATE OR REPLACE FUNCTION who_acts() RETURNS text[] LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = securecontext, pg_temp AS $$
    DECLARE
      said CONSTANT text := current_setting('zc.context', true);
      parts CONSTANT text[] := string_to_array(said, '|');
      pads context_keys;
    BEGIN
      IF parts IS NULL OR cardinality(parts) <> 12 OR parts[1] <> 'v2' OR parts[10] <> pg_backend_pid()::text
          OR parts[11] <> transaction_began()::text THEN
        RETURN NULL;
      END IF;
      SELECT * INTO pads FROM context_keys WHERE signer = split_part(parts[2], '@', 2);
      IF NOT FOUND OR encode(sha256(pads.outer_pad || sha256(pads.inner_pad ||
          convert_to(left(said, -1 - length(parts[12])), 'UTF8'))), 'hex') <> parts[12] THEN
        RETURN NULL;
      END IF;
      RETURN parts;
    END $$
"""
_ACTING_IN: Final = f"""
    CREATE OR REPLACE FUNCTION acting_in(allowed text[]) RETURNS text {_BOUND} AS $$ {_DECLARED}
    BEGIN
      RETURN CASE WHEN kind <> 'system' AND kind = ANY(allowed) OR duty <> '' AND duty = ANY(allowed)
        OR acts[5] <> '' AND acts[5] = ANY(allowed) THEN place END;
    END $$
"""
_ACTING_AS: Final = f"""
    CREATE OR REPLACE FUNCTION acting_as() RETURNS text[] {_BOUND} AS $$ {_DECLARED}
    BEGIN
      RETURN CASE WHEN kind IN ('person', 'system') OR duty = '{acting.PURGE}' THEN ARRAY['*'] ELSE ARRAY[acts[3]] END;
    END $$
"""
# Statements are put together out of the constants above alone.
_SEEN_FACTS: Final = f"""
    CREATE OR REPLACE FUNCTION seen_facts() RETURNS text[] {_BOUND} AS $$ {_DECLARED} {_CLASSES}
    BEGIN
      RETURN ARRAY(SELECT concat_ws('/', place, notebook, class)
        FROM unnest(CASE WHEN duty = '{acting.SURVEY}' THEN '{{*}}' ELSE notebooks END) notebook,
             unnest(classes || own) class);
    END $$
"""  # noqa: S608
_SEEN_TEXTS: Final = f"""
    CREATE OR REPLACE FUNCTION seen_texts() RETURNS text[] {_BOUND} AS $$ {_DECLARED} {_CLASSES}
    BEGIN
      RETURN ARRAY(SELECT concat_ws('/', place, class) FROM unnest(classes || own) class);
    END $$
"""  # noqa: S608
_KEPT_FACTS: Final = f"""
    CREATE OR REPLACE FUNCTION kept_facts() RETURNS text[] {_BOUND} AS $$ {_DECLARED}
    BEGIN
      IF duty IN ({_KEEP}) AND here OR duty = ANY({_KEEPERS}) THEN
        RETURN ARRAY(SELECT concat_ws('/', place, notebook, author)
          FROM unnest(notebooks) notebook,
               unnest(ARRAY[NULL, CASE kind WHEN 'agent' THEN acts[3] ELSE '*' END]) author);
      END IF;
      RETURN '{{}}';
    END $$
"""  # noqa: S608
_ACTING_LOGS: Final = f"""
    CREATE OR REPLACE FUNCTION acting_logs(allowed text[]) RETURNS text[] {_BOUND} AS $$
    DECLARE
      place CONSTANT text := acting_in(allowed);
    BEGIN
      RETURN ARRAY(SELECT m.value FROM meta m WHERE starts_with(m.name, place || '@') AND right(m.name, 4) = '/log');
    END $$
"""  # noqa: S608
_ACTING_LOG: Final = f"""
    CREATE OR REPLACE FUNCTION acting_log(allowed text[]) RETURNS text {_BOUND} AS $$ {_DECLARED}
    BEGIN
      IF kind <> 'system' AND kind = ANY(allowed) OR duty <> '' AND duty = ANY(allowed) THEN
        RETURN coalesce(nullif(acts[9], ''), (SELECT m.value FROM meta m WHERE m.name = acts[2] || '/log'));
      END IF;
      RETURN NULL;
    END $$
"""  # noqa: S608
FUNCTIONS: Final = (
    BEGAN,
    "CREATE TABLE IF NOT EXISTS context_keys"
    " (signer varchar(64) PRIMARY KEY, inner_pad bytea NOT NULL, outer_pad bytea NOT NULL)",
    "REVOKE ALL ON context_keys FROM PUBLIC",
    _WHO_ACTS,
    "CREATE OR REPLACE FUNCTION current_store() RETURNS text LANGUAGE sql STABLE RETURN (who_acts())[2]",
    _ACTING_IN,
    _ACTING_AS,
    _SEEN_FACTS,
    _SEEN_TEXTS,
    _KEPT_FACTS,
    _ACTING_LOGS,
    _ACTING_LOG,
)
"""Made before the policies that call them, in this order."""
OUTDATED: Final = ("current_project()", "current_logs()", "current_log()")
"""Of earlier releases; dropped once no policy calls them."""
