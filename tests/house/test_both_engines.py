"""Which tests a run with the data in PostgreSQL leaves out: those named here, each of which says why, and no other."""

from __future__ import annotations

import ast

from tests.house.source import dotted, parsed

ABOUT_FILES = {
    "test_a_defect_while_preparing_or_rendering_is_answered_too",
    "test_a_merge_counts_what_was_lost_with_its_key_and_refuses_what_is_broken",
    "test_a_planted_chunk_leads_to_no_sealed_text",
    "test_a_project_that_is_gone_is_refused_and_the_machines_ledger_has_it",
    "test_a_read_has_its_entry_before_its_answer",
    "test_a_recall_that_fails_is_told_in_one_line_and_the_session_goes_on",
    "test_a_refusal_takes_back_its_effect_and_is_an_entry",
    "test_a_secret_that_lies_in_the_database_is_redacted_in_both_forms_of_an_answer",
    "test_a_text_of_another_agent_or_project_opens_here_as_little",
    "test_rt_s1_16_odd_paths_are_projects_of_their_own_with_files_of_their_own",
    "test_rt_s2_01_agent_a_forges_a_row_of_b_and_verification_finds_it",
    "test_w_10_a_restricted_row_relabelled_as_plain_is_named_and_never_shown",
    "test_w_10_an_edited_moved_or_relabelled_text_is_named_and_never_shown",
    "test_w_22_no_stored_value_is_the_key",
    "test_w_40_a_rising_class_leaves_no_trace_of_what_lay_there_as_it_is",
    "test_what_comes_after_is_done_once_the_effect_is_durable_and_not_for_a_refusal",
    "test_another_machine_secret_than_the_keys_were_made_with_is_refused",
    "test_files_of_databases_and_of_their_logs_are_the_owners_alone",
    "test_a_backup_is_restored_over_what_is_there_and_what_was_there_is_kept",
    "test_a_backup_is_restored_into_another_folder_by_its_fingerprint",
    "test_backups_made_while_many_write_hold_all_that_was_acknowledged_before",
    "test_a_service_that_dies_once_a_restore_is_decided_finishes_it_at_the_next_start",
    "test_health_tells_of_a_broken_store",
    "test_the_machines_ledger_is_verified_from_a_project_whose_database_is_broken",
    "test_set_up_migrated_used_and_killed",
    "test_two_services_are_equals_and_one_goes_on_when_the_other_dies",
    "test_a_full_disk_is_told_and_over_when_there_is_room_again",
    "test_a_service_on_a_full_disk_answers_in_bounded_time_and_recovers",
    "test_files_that_may_not_grow_are_told_and_nothing_is_half_done",
    "test_a_broken_project_is_set_aside_and_the_others_go_on",
    "test_a_broken_machine_file_is_set_aside",
    "test_a_file_that_breaks_while_the_service_runs",
    "test_a_file_that_is_taken_away_while_the_service_runs_is_not_made_anew",
    "test_another_projects_file_is_refused_and_left_as_it_is",
    "test_a_folder_that_is_made_anew_gets_a_service_of_its_own",
}
"""A new one needs a thing that only files have; what a database does otherwise has a test of its own."""


def left_out() -> dict[str, str]:
    """Return the reason of each marked test."""
    found = {}
    for _, tree in parsed("tests"):
        for node in tree.body:
            for mark in node.decorator_list if isinstance(node, ast.FunctionDef) else ():
                if isinstance(mark, ast.Call) and dotted(mark.func) == "pytest.mark.only_in_files":
                    (reason,) = mark.args
                    assert isinstance(reason, ast.Constant), node.name
                    found[node.name] = str(reason.value)
    return found


def test_what_is_left_out_is_listed_with_its_reason() -> None:
    found = left_out()
    assert set(found) == ABOUT_FILES
    assert all(len(reason) > 20 for reason in found.values())


def test_no_other_test_asks_for_the_engine() -> None:
    """A test that looked which engine it runs on could leave out what it proves."""
    askers = {
        path
        for path, tree in parsed("tests")
        for node in ast.walk(tree)
        if (isinstance(node, (ast.Name, ast.Attribute)) and dotted(node).rpartition(".")[2] == "ON_POSTGRES")
    }
    assert askers == {"tests/conftest.py", "tests/engine.py"}
