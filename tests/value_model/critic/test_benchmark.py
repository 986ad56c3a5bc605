"""The benchmarks of labelling and training run and add up."""

import pytest

from tests.value_model.synthetic import MICRO
from value_model.critic.benchmark import measure_growth, measure_label, measure_train
from value_model.critic.flops import label_flops, train_flops


def test_label_and_train_shares_add_up() -> None:
    label = measure_label(MICRO, 1)
    share = label["frames_per_s"] * label_flops(MICRO) / label["matmul_flops_per_s"]
    assert label["matmul_share"] == pytest.approx(share) and 0 < share < 1
    train = measure_train(MICRO, 2)
    share = train["clips_per_s"] * train_flops(MICRO) / train["matmul_flops_per_s"]
    assert train["matmul_share"] == pytest.approx(share) and 0 < share < 1
    assert train["peak_rss_mb"] >= label["peak_rss_mb"] > 0


def test_growth_is_of_both_data_sets() -> None:
    grown = measure_growth(MICRO, times=3, episodes=2)
    assert grown["time_growth"] > 1 and grown["memory_growth"] >= 1
