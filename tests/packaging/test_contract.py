"""Every case of docs/reliability.md 5 has a test: this is where."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
_PLANTED = "attacks/test_planted_files.py"
CASES = {
    # A: reading a video
    "A1 missing file": "cli/test_foreign_bad_input.py::test_what_is_no_video[A1 missing]",
    "A2 dangling link": "cli/test_foreign_bad_input.py::test_what_is_no_video[A2 link]",
    "A3 folder": "cli/test_foreign_bad_input.py::test_what_is_no_video[A3 folder]",
    "A4 device": "cli/test_foreign_bad_input.py::test_a_device",
    "A5 empty": "cli/test_foreign_bad_input.py::test_what_is_no_video[A5 empty]",
    "A6 text": "cli/test_foreign_bad_input.py::test_what_is_no_video[A6 text]",
    "A7 image": "cli/test_foreign_bad_input.py::test_what_is_no_video[A7 image]",
    "A8 sound only": "cli/test_foreign_bad_input.py::test_what_is_no_video[A8 sound]",
    "A9 no index": "cli/test_foreign_bad_input.py::test_what_is_no_video[A9 no index]",
    "A10 cut off": "cli/test_foreign_bad_input.py::test_cut_at_every_tenth",
    "A11 flipped bits": "cli/test_foreign_bad_input.py::test_damaged_packets",
    "A12 enormous frames": "cli/test_foreign_bad_input.py::test_what_is_no_video[A12 enormous]",
    "A13 changing size": "cli/test_foreign_bad_input.py::test_a_size_that_changes_on_the_way",
    "A14 varying rate": "cli/test_foreign.py::test_a_varying_rate_is_put_on_a_grid",
    "A15 rotation": "cli/test_foreign.py::test_a_turned_video_comes_out_upright",
    "A16 odd size": "cli/test_foreign.py::test_odd_sizes_lose_a_row",
    "A17 no duration": "cli/test_foreign.py::test_without_a_duration",
    "A18 long file, short tail": "cli/test_foreign.py::test_the_tail_of_a_long_file_is_soon_read",
    "A19 permission": "media/test_open.py::test_permission_denied",
    "A20 sound is kept": "cli/test_foreign.py::test_its_packets_and_its_sound_are_copied",
    # B: injection and untrusted files
    "B1 address as input": "media/test_nested_access.py::test_addresses_are_names_of_missing_files",
    "B2 playlist": "media/test_nested_access.py::test_playlists_are_not_followed",
    "B3 protocols": "cli/test_foreign_bad_input.py::test_addresses_are_names_of_missing_files",
    "B4 odd names": "cli/test_foreign_bad_input.py::test_odd_names_of_real_files",
    "B5 address as output": "cli/test_bad_input.py::test_arguments",
    "B6 template fields": f"{_PLANTED}::test_templates_know_names_only",
    "B7 prompt as path": f"{_PLANTED}::test_a_line_of_a_batch_stays_in_its_folder",
    "B8 pickled weights": "cli/test_bad_input.py::test_broken_weights",
    "B9 damaged weights": "models/test_checkpoint.py::test_damaged_files",
    "B10 weights that are not finite": "models/test_checkpoint.py::test_tensors_that_do_not_fit",
    # C: prompts, options, configuration
    "C1 empty prompt": "cli/test_bad_input.py::test_arguments",
    "C2 invalid UTF-8": "cli/test_joblist.py::test_what_is_no_list",
    "C3 control characters": f"{_PLANTED}::test_a_line_of_a_batch_stays_in_its_folder",
    "C4 BOM, CRLF, blank lines": "cli/test_joblist.py::test_a_prompt_a_line",
    "C5 broken line": "cli/test_batch.py::test_bad_lines_are_all_named_before_anything_is_made",
    "C6 endless line": "cli/test_contract_runs.py::test_c6_an_endless_line",
    "C7 numbers out of range": "cli/test_bad_input.py::test_arguments",
    "C8 broken settings": "cli/test_bad_input.py::test_a_wrong_settings_file",
    "C9 unknown encoder option": "media/test_writer.py::test_option_names_that_libav_would_ignore",
    "C10 no GPU": "cli/test_generate.py::test_a_gpu_that_is_not_there",
    # D: interruptions and resume
    "D1 kill at any step of publishing": "cli/test_contract_kills.py::test_d1_killed_at_any_call",
    "D2 Ctrl-C": "cli/test_contract_output.py::test_ctrl_c_is_answered_at_once",
    "D3 SIGTERM": "cli/test_resume.py::test_the_same_command_goes_on_and_ends_in_the_same_bytes",
    "D3 SIGUSR1": "cli/test_resume.py::test_a_run_that_is_asked_to_writes_its_journal_and_goes_on",
    "D4 damaged state": "cli/test_resume.py::test_a_damaged_file_is_sampled_again",
    "D5 other settings": "cli/test_resume.py::test_other_settings_never_take_it_over",
    "D6 after success": "cli/test_generate.py::test_the_same_command_again_does_nothing",
    "D7 output that is gone": "cli/test_contract_output.py::test_a_job_outlives_its_readers",
    # E: resources and concurrency
    "E1 full disk": "cli/test_contract_runs.py::test_e1_a_disk_that_fills_up_in_any_phase",
    "E2 unwritable folder": "cli/test_bad_input.py::test_a_folder_that_cannot_be_written",
    "E2 read-only disk": "media/test_full_disk.py::test_read_only_disk",
    "E3 file size limit": "cli/test_bad_input.py::test_a_disk_that_fills_up_while_writing",
    "E4 one output, several runs": "cli/test_contract_runs.py::test_e4_several_runs_of_one_job",
    "E4 one cache, several runs": "cli/test_contract_runs.py::test_e4_two_outputs_one_cache",
    "E5 output exists": "cli/test_bad_input.py::test_an_output_that_exists",
    "E6 memory": "cli/test_contract_runs.py::test_e6_too_little_memory",
    "E7 folder": "cli/test_bad_input.py::test_an_output_that_is_a_folder",
    "E7 link": "media/test_publish.py::test_overwrite_replaces_a_link_and_not_what_it_names",
    "E8 one bad job": "cli/test_batch.py::test_a_job_that_fails_does_not_stop_the_others",
}
ROWS = {"A": 20, "B": 10, "C": 10, "D": 7, "E": 8}


@pytest.mark.parametrize("case", CASES)
def test_the_test_is_there(case: str) -> None:
    parts = re.fullmatch(r"(.+)::(\w+)(?:\[(.+)\])?", CASES[case])
    assert parts is not None
    name, test, one = parts.groups()
    text = (TESTS / name).read_text(encoding="utf-8")
    assert re.search(rf"^ *def {test}\(", text, re.MULTILINE)
    assert one is None or f'id="{one}"' in text


def test_no_case_is_missing() -> None:
    found = {case.split()[0] for case in CASES}
    assert found == {f"{table}{row}" for table, rows in ROWS.items() for row in range(1, rows + 1)}
