"""Where a run writes, when nobody says it."""

from concurrent.futures import ThreadPoolExecutor

from omegaconf import OmegaConf

from pkdn_lightning.config import compose
from pkdn_lightning.config.resolvers import register_resolvers, run_folder, size_of


def test_runs_that_start_in_the_same_second_have_a_folder_each(tmp_path):
    with ThreadPoolExecutor() as several:
        folders = list(several.map(lambda _: run_folder(None, None, str(tmp_path), "demo", "noon"), range(8)))
    assert sorted(folders) == [str(tmp_path / "demo" / name) for name in ("noon", *(f"noon_{n}" for n in range(2, 9)))]


def test_a_job_is_told_the_same_folder_whenever_it_asks(tmp_path):
    register_resolvers()
    cfg = OmegaConf.create({"dir": f"${{run_folder:null,null,{tmp_path},demo,noon}}"})
    assert cfg.dir == cfg.dir == str(tmp_path / "demo" / "noon")


def test_a_folder_that_was_given_is_not_made(tmp_path):
    given = tmp_path / "mine"
    assert run_folder(str(given), None, str(tmp_path), "demo", "noon") == str(given)
    assert not given.exists()


def test_a_discriminator_has_the_size_of_the_stores_faces(store, tmp_path):
    assert size_of(str(tmp_path / "none")) == 128
    cfg = compose("train", ["experiment=urdgn", f"data.store={store.path}"])
    assert cfg.module.discriminator.size_px == size_of(str(store.path)) == 32
