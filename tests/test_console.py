"""What is printed, and by which process."""

import pytest

from pkdn_lightning.console import console


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
