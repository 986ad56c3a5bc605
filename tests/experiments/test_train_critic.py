"""Training a critic on the mixture, and the ablations, on next to no data."""

from __future__ import annotations

import json

import pytest

from envs.errors import UserError
from experiments.ablate import ablate
from experiments.ablation.variants import VARIANTS, AblateConfig, with_settings
from experiments.choices.wvm_critics import TINY_CRITIC
from experiments.stages.mixture import CriticMixture
from experiments.train_critic import train_critic
from value_model.critic.config import WVMConfig, from_json
from value_model.critic.wvm import load_wvm

MIXTURE = ["mixture.tasks=[lift]", "mixture.robots=[Panda]", "mixture.share=0.01", "mixture.image_size=64"]
MODEL = [
    "critic.model.tokenizer.updates=2",
    "critic.model.tokenizer.width=8",
    "critic.model.tokenizer.frames=64",
    "critic.model.video.layers=1",
    "critic.model.video.width=32",
    "critic.model.value.width=16",
    "critic.model.optim.updates=2",
    "critic.model.optim.updates_per_dispatch=1",
    "critic.model.optim.batch=4",
]
HELD_OUT = ["held_out.clean=1", "held_out.hesitation=1", "held_out.retry=1"]
MEAN = '''
from dataclasses import dataclass
import numpy as np

@dataclass(frozen=True)
class Mean:
    """The mean brightness."""
    def train(self, episodes, folder, progress):
        return Constant(np.mean([episode.images["wrist"].mean() for episode in episodes]) / 255)
    def load(self, folder):
        return Constant((folder / "mean.txt").read_text())

class Constant:
    def __init__(self, value): self.value = float(value)
    def values(self, frames, instruction): return np.full(len(frames), self.value)
    def save(self, folder): (folder / "mean.txt").write_text(repr(self.value))
'''


def last_line(text: str) -> dict:
    return json.loads(text.strip().splitlines()[-1])


@pytest.fixture(scope="module")
def common(tmp_path_factory):
    """Where both critics find their episodes."""
    return [f"outputs={tmp_path_factory.mktemp('outputs')}", "wandb.mode=disabled"]


def test_a_critic_from_outside_is_trained_on_the_mixture(tmp_path, capsys, monkeypatch, common):
    (tmp_path / "my_mean.py").write_text(MEAN)
    monkeypatch.syspath_prepend(str(tmp_path))
    train_critic([*MIXTURE, *HELD_OUT, "critic=my_mean:Mean", f"folder={tmp_path}/mine", *common])
    found = last_line(capsys.readouterr().out)
    assert found["static_drift"] == 0.0 and (tmp_path / "mine/mean.txt").is_file()
    assert "`my_mean:Mean`: The mean brightness." in (tmp_path / "mine/MODEL_CARD.md").read_text()
    with pytest.raises(UserError, match="is trained already"):
        train_critic([*MIXTURE, "critic=my_mean:Mean", f"critic.path={tmp_path}/mine", *common])


def test_critic_and_ablations(tmp_path, capsys, common):
    critic = tmp_path / "critic"
    train_critic([*MIXTURE, *MODEL, *HELD_OUT, f"folder={critic}", *common])
    found = last_line(capsys.readouterr().out)
    assert found["expert_voc_count"] == 1 and found["folder"] == str(critic)
    assert load_wvm(critic).config.video.layers == 1
    card = (critic / "MODEL_CARD.md").read_text()
    assert "Panda" in card and "1 retry" in card and "critic.model.video.layers=1" in card

    few = ["bench.combinations=[lift-Panda]", "bench.scale=0.01", "bench.image_size=64"]
    variants = ["full", "experts_alone", "frozen_video", "hl_gauss", "no_future", "horizon_8", "euler_4"]
    budget = ["updates=2", "video_updates=2", "batch=4", "seeds=[0,1]", f"variants=[{','.join(variants)}]"]
    ablate([*MIXTURE, *few, *budget, f"base={critic}", *common])
    rows = last_line(capsys.readouterr().out)["rows"]
    assert list(rows) == variants
    assert all(len(row["retry_voc"]) == 2 for row in rows.values())
    assert rows["full"]["hesitation_rmse"] != rows["hl_gauss"]["hesitation_rmse"]
    assert rows["full"]["hesitation_rmse"] != rows["euler_4"]["hesitation_rmse"]


def test_every_variant_is_a_configuration_of_its_own():
    config = AblateConfig(updates=7, video_updates=3)
    shipped = from_json((TINY_CRITIC / "config.json").read_text())
    models = {name: config.model(name, shipped) for name in VARIANTS}
    assert len(set(models.values())) == len(VARIANTS)
    assert models["frozen_video"].optim.video_updates == 3 and models["frozen_video"].optim.freeze_video
    assert {model.optim.updates for model in models.values()} == {7}


def test_settings_by_dotted_name():
    config = with_settings(WVMConfig(), {"causal_video": False, "clip.prefix_random": 1.0})
    assert (config.causal_video, config.clip.prefix_random) == (False, 1.0)
    assert with_settings(config, {}) == config


def test_mistakes_are_one_line():
    with pytest.raises(UserError, match="says nothing of UR5e"):
        CriticMixture(robots=("UR5e",))
    with pytest.raises(UserError, match="variant"):
        AblateConfig(variants=("none",))
    with pytest.raises(UserError, match=r"MODEL|model"):
        ablate(["base=/nowhere", "wandb.mode=disabled", "outputs=/tmp/nowhere"])
