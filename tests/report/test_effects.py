"""Effects and λ grids: which rows differ in one setting, and which in the weights only."""

from omegaconf import OmegaConf

from pkdn_lightning.report.effects import changed, families
from pkdn_lightning.report.lambdas import commands, lambda_grids
from pkdn_lightning.report.rows import collect


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
        assert changed(rows["pkdn"], rows["no_fs"]) == ["objective.fs: with → without"]

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

    def test_empty_cells_have_commands(self, make_run):
        teacher = make_run("teacher")
        for ts, fs in ((0.1, 10), (0, 10), (1, 10)):
            make_run(f"{ts}", f"objective.ts.weight={ts}", f"objective.fs.weight={fs}", teacher=teacher)
        (grid,) = lambda_grids(rows_of(make_run))
        weights = [line.split()[-2:] for line in commands(grid)]
        assert weights == [[f"objective.ts.weight={ts}", "objective.fs.weight=0"] for ts in ("0", "0.1", "1")]

    def test_two_rows_are_no_grid(self, make_run):
        make_run("pkdn", teacher=make_run("teacher"))
        make_run("plain")
        assert lambda_grids(rows_of(make_run)) == []
