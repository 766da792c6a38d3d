"""What is printed, and by which process."""

import pytest

from pkdn_lightning.console import console, progress


@pytest.mark.parametrize(
    ("rank", "printed"), [({}, True), ({"RANK": "0"}, True), ({"RANK": "0", "LOCAL_RANK": "1"}, False)]
)
def test_only_the_first_process_prints_and_paths_stay_as_they_are(monkeypatch, capsys, rank, printed):
    for name, value in rank.items():
        monkeypatch.setenv(name, value)
    console.print("runs/[bold]a[/]/" + "x" * 300)
    assert capsys.readouterr().out == ("runs/[bold]a[/]/" + "x" * 300 + "\n" if printed else "")


def test_control_characters_in_names_are_shown_and_not_obeyed(capsys):
    console.print("a\x1b[31mred\x07.png")
    assert capsys.readouterr().out == "a\\x1b[31mred\\x07.png\n"


def test_without_a_terminal_progress_is_told_in_lines_and_nothing_is_printed_where_it_is_short(monkeypatch, capsys):
    assert list(progress("ab", "reading", 2)) == ["a", "b"]
    assert capsys.readouterr() == ("", "")
    seconds = iter(range(0, 1000, 30))
    monkeypatch.setattr("pkdn_lightning.console.time.monotonic", lambda: next(seconds))
    assert list(progress(iter(range(4)), "reading", 4)) == [0, 1, 2, 3]
    assert capsys.readouterr().out.startswith("reading: 0 of 4\n")
