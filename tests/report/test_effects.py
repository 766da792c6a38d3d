"""Effects and λ grids: which rows differ in one setting, and which in the weights only."""

from omegaconf import OmegaConf

from pkdn_lightning.report.effects import changed, families
from pkdn_lightning.report.lambdas import commands, lambda_grids
from pkdn_lightning.report.rows import collect
from pkdn_lightning.runs import RunFolder


def rows_of(make_run):
    return collect(make_run.root).rows


class TestEffects:
    def test_one_setting_and_the_teachers_blocks(self, make_run):
        teacher = make_run("teacher")
        bare = make_run("teacher_bare", "model.pfb=false", "model.ffb=false")
        make_run("pkdn", teacher=teacher)
        make_run("bare", "teacher.model.pfb=false", "teacher.model.ffb=false", teacher=bare)
        make_run("lr", "optimizer.lr=0.5", teacher=teacher)
        make_run("two", "optimizer.lr=0.5", "data.batch_size=2", teacher=teacher)
        make_run("plain")
        rows = rows_of(make_run)
        base = next(row for row in rows if row.runs[0].folder.path.name == "pkdn")
        students, teachers = families(rows, base.label)
        assert students.reference is base
        assert {effect.row.runs[0].folder.path.name: effect.setting for effect in students.effects} == {
            "bare": "teacher.ffb: true → false, teacher.pfb: true → false",
            "lr": "lr: 0.0001 → 0.5",
            "plain": "distillation: with → without",
        }
        assert teachers.reference.method == "PKDN teacher"
        assert [effect.setting for effect in teachers.effects] == ["model.ffb: true → false, model.pfb: true → false"]

    def test_a_term_that_is_lacking_is_one_change(self, make_run):
        teacher = make_run("teacher")
        make_run("pkdn", teacher=teacher)
        run = make_run("no_fs", teacher=teacher)
        cfg = OmegaConf.load(run.config)
        del cfg.objective["fs"]
        OmegaConf.save(cfg, run.config)
        rows = {row.runs[0].folder.path.name: row for row in rows_of(make_run)}
        assert changed(rows["pkdn"], rows["no_fs"]) == ["fs.weight: 10 → 0"]

    def test_what_follows_from_a_setting_is_no_change_of_its_own(self, make_run):
        teacher = make_run("teacher", "model.ffb_skip=false")
        bare = make_run("teacher_bare", "model.ffb=false", "model.ffb_skip=false")
        first = make_run("first")
        make_run("pkdn", teacher=teacher)
        make_run("bare", teacher=bare)
        make_run("blurred", "data.parsing_damage=blurred", teacher=teacher)
        make_run("constant", "objective.fs.schedule=constant", teacher=teacher)
        make_run("plain_on", f"module.init_from={first.path}")
        make_run("plain_damaged", "data.parsing_damage=blurred", "module.features.d3=body.2", "optimizer.lr=0.5")
        rows = {row.runs[0].folder.path.name: row for row in rows_of(make_run)}
        assert changed(rows["pkdn"], rows["bare"]) == ["teacher.ffb: true → false"]
        assert changed(rows["pkdn"], rows["blurred"]) == ["parsing_damage: none → blurred"]
        assert changed(rows["pkdn"], rows["constant"]) == ["fs.schedule: linear → constant"]
        assert changed(rows["first"], rows["plain_on"]) == ["init_from: false → true"]
        assert changed(rows["first"], rows["plain_damaged"]) == ["lr: 0.0001 → 0.5"]

    def test_students_of_other_maps_are_no_effect_of_distillation(self, make_run):
        make_run("plain")
        for name, *changes in (
            ("whole",),
            ("blurred", "data.parsing_damage=blurred"),
            ("half", "data.parsing_dropout=0.5"),
        ):
            make_run(name, *changes, teacher=make_run(f"teacher_{name}", *changes))
            make_run.write_checkpoint(RunFolder(make_run.root / f"teacher_{name}"), seed=len(name))
        rows = {row.runs[0].folder.path.name: row for row in rows_of(make_run)}
        assert changed(rows["plain"], rows["whole"]) == ["distillation: without → with"]
        assert len(changed(rows["plain"], rows["blurred"])) == len(changed(rows["half"], rows["plain"])) == 2
        assert changed(rows["whole"], rows["blurred"]) == ["parsing_damage: none → blurred"]
        assert changed(rows["whole"], rows["half"]) == ["teacher.parsing_dropout: 0 → 0.5"]

    def test_teachers_that_are_told_apart(self, make_run):
        a, c = make_run("teacher_a"), make_run("teacher_c", "seed=5")
        for name, teacher in (("a", a), ("c", c)):
            make_run(name, teacher=teacher)
        make_run("lr", "optimizer.lr=0.5", teacher=a)
        rows = {row.runs[0].folder.path.name: row for row in rows_of(make_run)}
        assert changed(rows["a"], rows["lr"]) == ["lr: 0.0001 → 0.5"]
        assert changed(rows["a"], rows["c"]) == ["teacher.checkpoint: teacher_a → teacher_c"]

    def test_strangers_are_no_family(self, make_run):
        make_run("teacher")
        make_run("plain")
        assert families(rows_of(make_run), "PKDN student, no distillation") == []


class TestGrid:
    def test_zero_weights_join_whatever_their_schedules(self, make_run):
        teacher = make_run("teacher")
        make_run("pkdn", teacher=teacher)
        make_run("no_ts", "objective.ts.weight=0", "objective.ts.duration=3", teacher=teacher)
        make_run("plain")
        make_run("other_schedule", "objective.fs.weight=1", "objective.fs.schedule=constant", teacher=teacher)
        make_run("other_rate", "optimizer.lr=0.5", "objective.fs.weight=1", teacher=teacher)
        (grid,) = lambda_grids(rows_of(make_run))
        names = {weights: row.runs[0].folder.path.name for weights, row in grid.rows.items()}
        assert names == {(0.1, 10): "pkdn", (0, 10): "no_ts", (0, 0): "plain"}
        assert (grid.method, grid.ts, grid.fs) == ("PKDN", [0, 0.1], [0, 10])

    def test_a_grid_stays_whole_when_one_seed_has_a_second_teacher(self, make_run):
        teachers = [make_run(f"teacher{seed}", f"seed={seed}") for seed in (0, 1)]
        for seed in (0, 1):
            make_run(f"pkdn{seed}", f"seed={seed}", teacher=teachers[seed])
        for ts, fs in ((0, 10), (1, 10)):
            make_run(f"weight{ts}", f"objective.ts.weight={ts}", f"objective.fs.weight={fs}", teacher=teachers[0])
        (grid,) = lambda_grids(rows_of(make_run))
        assert sorted(grid.rows) == [(0, 10), (0.1, 10), (1, 10)]
        make_run("of_another", "seed=1", teacher=teachers[0])
        (grid,) = lambda_grids(rows_of(make_run))
        assert sorted(grid.rows) == [(0, 10), (0.1, 10), (1, 10)]
        assert len(grid.rows[0.1, 10].runs) == 2

    def test_empty_cells_have_commands(self, make_run):
        teacher = make_run("teacher")
        for ts, fs in ((0.1, 10), (0, 10), (1, 10)):
            make_run(f"{ts}", f"objective.ts.weight={ts}", f"objective.fs.weight={fs}", teacher=teacher)
        (grid,) = lambda_grids(rows_of(make_run))
        weights = [line.split()[-3:-1] for line in commands(grid)]
        assert weights == [[f"objective.ts.weight={ts}", "objective.fs.weight=0"] for ts in ("0", "0.1", "1")]

    def test_commands_have_the_seeds_of_the_row_they_complete(self, make_run):
        teacher = make_run("teacher")
        for ts, fs in ((0.1, 10), (0, 10)):
            make_run(f"{ts}", f"objective.ts.weight={ts}", f"objective.fs.weight={fs}", teacher=teacher)
        for seed in (3, 5):
            weights = ("objective.ts.weight=1", "objective.fs.weight=10")
            make_run(f"seed{seed}", f"seed={seed}", *weights, teacher=teacher)
        (grid,) = lambda_grids(rows_of(make_run))
        assert commands(grid)[0].startswith("pkdn train -m experiment=")
        assert {line.split()[-1] for line in commands(grid)} == {"seed=3,5"}

    def test_rows_join_whatever_nothing_reads(self, make_run):
        teacher, layers = make_run("teacher"), ("module.features.d3=body.2", "teacher.features.d3=body.2")
        for ts, fs in ((0.1, 10), (0, 10)):
            make_run(f"{ts}", f"objective.ts.weight={ts}", f"objective.fs.weight={fs}", *layers, teacher=teacher)
        make_run("image", "objective.fs.weight=0", teacher=teacher)
        make_run("plain", "data.parsing_damage=blurred")
        (grid,) = lambda_grids(rows_of(make_run))
        assert sorted(grid.rows) == [(0, 0), (0, 10), (0.1, 0), (0.1, 10)]

    def test_two_rows_are_no_grid(self, make_run):
        make_run("pkdn", teacher=make_run("teacher"))
        make_run("plain")
        assert lambda_grids(rows_of(make_run)) == []
