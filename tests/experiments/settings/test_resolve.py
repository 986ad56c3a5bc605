"""What is printed is what was used."""

from dataclasses import replace

from experiments.lab.artifacts import digest
from experiments.settings.chosen import Chosen
from experiments.settings.cli import configurations
from experiments.settings.resolve import resolved


def chosen(*arguments) -> Chosen:
    [one] = configurations("run", list(arguments))
    return one


def test_an_online_methods_training_is_its_own():
    config = chosen("method=grpo", "method.online.iterations=3", "train.learning_rate=0.01").config
    train = resolved(config).train
    assert (train.updates, train.ema, train.final_fraction, train.learning_rate) == (24, 0.0, 1.0, 0.01)
    assert resolved(resolved(config)) == resolved(config)
    assert resolved(replace(config, method=chosen("method=awr").config.method)).train == config.train


def test_a_method_has_a_learning_rate_of_its_own():
    rates = {
        method: resolved(chosen(f"method={method}").config).train.learning_rate for method in ("awr", "grpo")
    }
    assert rates == {"awr": 1e-3, "grpo": 1e-4}
    own = chosen("method=filtered_bc", "data=imagined").config
    assert resolved(own).train.learning_rate == rates["grpo"], (
        "its own attempts, and not somebody's demonstrations"
    )
    given = chosen("train.learning_rate=0.01").config
    assert resolved(given).train.learning_rate == 0.01


def test_names_are_those_of_the_command_line():
    one = chosen("method=filtered_bc_binary", "data=suboptimal", "data.hesitation=40", "critic=train_small")
    assert (one.names["method"], one.names["data"]) == ("filtered_bc_binary", "suboptimal")
    assert (one.names["critic"], one.names["task"]) == ("train_small", "stack")


def test_two_words_for_the_same_settings_are_the_same_configuration():
    one = chosen("method=filtered_bc", "method.rule=binary").config
    other = chosen("method=filtered_bc_binary").config
    assert digest(one) == digest(other)
