"""GVL against a real endpoint on loopback: good answers, nonsense, failures, time-outs, kept answers."""

import dataclasses
import itertools
import json
import socket
import time
from email.utils import formatdate
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from envs.errors import UserError
from envs.types import Episode
from tests.value_model.synthetic import slide
from tests.value_model.vlm_server import Reply, VLMServer, brightness, chat, failure, seeing
from value_model.chat.client import ConnectionConfig
from value_model.critic.gvl.critic import GVL, GVLConfig, orders
from value_model.critic.gvl.question import MalformedAnswer, parse

QUICK = ConnectionConfig(connect_timeout=2.0, read_timeout=5.0, deadline=20.0, retries=3)
SOON = "0.01"  # seconds that a failing endpoint asks to wait: without it the client waits half a second, then longer
LEVELS = np.linspace(0, 100, 21).astype(np.uint8)  # frame t is grey 5 t: the server's model says 5 t %


def grey(levels: np.ndarray = LEVELS, seed: int = 0) -> Episode:
    frames = np.tile(levels[:, None, None, None], (1, 16, 16, 3)).astype(np.uint8)
    return dataclasses.replace(slide(seed, length=len(levels)), images={"workspace": frames})


def critic(base_url: str, folder: Path, connection: ConnectionConfig = QUICK, **settings) -> GVL:
    config = GVLConfig(**{"base_url": base_url, "model": "seer", "frames": 6, **settings})
    return GVL(config, folder, connection)


def ask(
    reply, tmp_path: Path, connection: ConnectionConfig = QUICK, **settings
) -> tuple[np.ndarray, VLMServer]:
    with VLMServer(reply) as server:
        [values] = critic(server.base_url, tmp_path, connection, **settings).label([grey()])
    return values, server


def good(request: dict, number: int) -> Reply:
    return chat(seeing(request))


def first(*replies: Reply):
    """These replies first, good ones then."""
    return lambda request, number: replies[number] if number < len(replies) else good(request, number)


def test_values_come_back_in_time_although_frames_were_shuffled(tmp_path):
    values, server = ask(good, tmp_path)
    np.testing.assert_allclose(values, LEVELS / 100, atol=1e-6)  # 6 frames shown, linear between them
    assert values.dtype == np.float32
    [shown] = map(brightness, server.requests)
    assert shown[0] == 0 and sorted(shown) == [0, 20, 40, 60, 80, 100]
    assert server.requests[0]["model"] == "seer" and server.requests[0]["temperature"] == 0.0
    assert slide(0).instruction in server.requests[0]["messages"][0]["content"][0]["text"]


def test_frames_are_shown_out_of_order(tmp_path):
    _, server = ask(good, tmp_path, frames=21)  # 20! orders: which is drawn depends on the server's port
    [shown] = map(brightness, server.requests)
    assert shown[0] == 0 and sorted(shown) == LEVELS.tolist() != shown


def test_one_frame_is_the_anchor_and_two_are_asked_for_one(tmp_path):
    with VLMServer(good) as server:
        values = list(critic(server.base_url, tmp_path).label([grey(LEVELS[:1]), grey(LEVELS[[0, 10]])]))
    assert [value.tolist() for value in values] == [[0.0], [0.0, 0.5]]
    assert len(server.requests) == 1


def test_answers_are_kept_and_not_asked_for_again(tmp_path):
    episodes = [grey(LEVELS[:length]) for length in (21, 16, 11)]
    with VLMServer(good) as server:
        once = list(critic(server.base_url, tmp_path).label(episodes))
        again = list(critic(server.base_url, tmp_path).label(episodes))
        assert len(server.requests) == 3
        for one, other in zip(once, again, strict=True):
            np.testing.assert_array_equal(one, other)
        [kept, *_] = sorted(tmp_path.glob("*.json"))
        kept.write_text(kept.read_text()[:40])  # cut by hand: asked for once more
        list(critic(server.base_url, tmp_path).label(episodes))
        list(critic(server.base_url, tmp_path, model="other").label(episodes))
    assert len(server.requests) == 3 + 1 + 3


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("", "2 of 2 frames are not judged, the first of them 1"),
        ("Frame 1: a, 10%", "1 of 2 frames are not judged, the first of them 2"),
        ("Frame 1: 10%\nFrame 1: 10%\nFrame 2: 3%", "frame 1 is judged twice"),
        ("Frame 1: 10%\nFrame 2: 101%", "frame 2 has no percentage"),
        ("Frame 1: 10%\nFrame 2: -1%", "frame 2 has no percentage"),
        ("Frame 1: 10%\nFrame 2: nan%", "frame 2 has no percentage"),
        ("Frame 1: 10%\nFrame 2: 40-50%", "frame 2 has no percentage"),
        ("Frame 1: 10%\nFrame 2: about half", "frame 2 has no percentage"),
        ("Frame 1: 1%\nFrame 2: 2%\nFrame 3: 3%", "frame 3 was not shown"),
        ("Frame 0: 1%\nFrame 1: 2%\nFrame 2: 3%", "frame 0 was not shown"),
    ],
)
def test_malformed_answers_are_never_values(answer, message):
    with pytest.raises(MalformedAnswer, match=message):
        parse(answer, 2)


def test_decoration_of_a_good_answer_does_no_harm():
    text = "Here you are:\n**Frame 1: the hand is empty, 12.5%**\n- Frame 2: lifted by 30%, **80 %**.\nDone!"
    assert parse(text, 2) == {1: 12.5, 2: 80.0}


def test_a_malformed_answer_is_asked_for_again_in_another_order(tmp_path):
    values, server = ask(first(chat("I cannot say."), chat(None)), tmp_path)
    np.testing.assert_allclose(values, LEVELS / 100, atol=1e-6)
    shown = [brightness(request) for request in server.requests]
    assert len(shown) == 3 and shown[0] != shown[1] != shown[2]


@pytest.mark.parametrize("count", [1, 2, 3, 29])
def test_no_order_is_that_of_the_attempt_before(count):
    drawn = [order.tolist() for order in orders(count, 20, [0])]
    assert [sorted(order) for order in drawn] == 20 * [list(range(count))]
    assert count == 1 or all(one != other for one, other in pairwise(drawn))
    assert drawn == [order.tolist() for order in orders(count, 20, [0])]


def test_misses_are_errors_or_counted(tmp_path):
    def confused(request: dict, number: int) -> Reply:
        return chat("Frame 1: 40%") if max(brightness(request)) < 90 else good(request, number)

    episodes = [grey(), grey(LEVELS[:15]), grey()]
    told: list[str] = []
    with VLMServer(confused) as server:
        config = GVLConfig(base_url=server.base_url, model="seer", frames=6, on_miss="undefined")
        counting = GVL(config, tmp_path, QUICK, told.append)
        values = list(counting.label(episodes))
        strict = critic(server.base_url, tmp_path)
        with pytest.raises(UserError, match="no usable answer for video 2 in 3 attempts") as caught:
            list(strict.label(episodes))
    assert "\n" not in str(caught.value)
    assert [np.isnan(value).all() for value in values] == [False, True, False]
    assert (counting.asked, counting.missed) == (3, 1)
    assert told == ["seer gave no usable answer for 1 of 3 videos (33.3%)"]


@pytest.mark.parametrize("wait", ["0.3", formatdate(time.time() - 60, usegmt=True)], ids=["seconds", "date"])
def test_a_busy_endpoint_is_asked_again_when_it_says(tmp_path, wait):
    values, server = ask(first(failure(429, "slow down", Retry_After=wait)), tmp_path)
    assert len(server.requests) == 2 and not np.isnan(values).any()
    assert server.times[1] - server.times[0] >= (0.3 if wait == "0.3" else 0.0)


def test_a_failing_endpoint_is_asked_again(tmp_path):
    values, server = ask(
        first(failure(500, Retry_After=SOON), failure(503, Retry_After=SOON), (200, "<html>", {})), tmp_path
    )
    assert len(server.requests) == 4 and not np.isnan(values).any()


@pytest.mark.parametrize(
    ("reply", "message", "requests"),
    [
        (failure(500, "out of memory", Retry_After=SOON), r"failing \(status 500: out of memory\)", 4),
        (failure(429, "busy", Retry_After="3600"), "asks to wait 3600 s", 1),
        (failure(401, "who are you?"), "refuses the API key in SEER_KEY", 1),
        (failure(404, "no model seer"), "has no model 'seer'", 1),
        (failure(400, "too many images"), r"refuses the question \(status 400: too many images\)", 1),
        ((302, "", {"Location": "/elsewhere"}), "status 302", 1),
        ((200, "hello", {}), r"not with a chat completion \(2 attempts\)", 2),
        ((200, "{}", {"Content-Type": "application/json"}), "not with a chat completion", 2),
        ((200, "hello", {"Content-Type": "application/json"}), "not with a chat completion", 2),
    ],
)
def test_an_endpoint_that_will_not_answer_is_one_line(tmp_path, monkeypatch, reply, message, requests):
    monkeypatch.setenv("SEER_KEY", "very-secret")
    with VLMServer(lambda request, number: reply) as server:
        patience = dataclasses.replace(QUICK, retries=1) if reply[0] == 200 else QUICK
        asking = critic(server.base_url, tmp_path, patience, key_variable="SEER_KEY")
        with pytest.raises(UserError, match=message) as caught:
            list(asking.label([grey()]))
    assert "\n" not in str(caught.value) and "secret" not in str(caught.value)
    assert len(server.requests) == requests and set(server.keys) == {"Bearer very-secret"}


def test_no_key_is_sent_where_none_is_set(tmp_path, monkeypatch):
    monkeypatch.delenv("SEER_KEY", raising=False)
    _, server = ask(good, tmp_path, key_variable="SEER_KEY")
    assert server.keys == [None]
    with (
        VLMServer(lambda request, number: failure(401)) as server,
        pytest.raises(UserError, match="wants an API key"),
    ):
        list(critic(server.base_url, tmp_path / "other", key_variable="SEER_KEY").label([grey()]))


def test_a_wrong_path_is_one_line(tmp_path):
    with VLMServer(good) as server, pytest.raises(UserError, match="check model and base_url"):
        list(critic(server.base_url.removesuffix("/v1"), tmp_path).label([grey()]))


def test_an_endpoint_that_is_down_is_one_line(tmp_path):
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}/v1"
        with pytest.raises(UserError, match=r"cannot be reached.* \(2 attempts\)"):
            list(critic(url, tmp_path, dataclasses.replace(QUICK, retries=1)).label([grey()]))


def test_a_slow_endpoint_is_one_line_and_ends_at_once(tmp_path):
    slow = dataclasses.replace(QUICK, read_timeout=0.2, retries=1)
    late = dataclasses.replace(QUICK, deadline=0.3)
    with VLMServer(good, seconds=8.0) as server:
        began = time.monotonic()
        with pytest.raises(UserError, match=r"too slow: nothing in 0.2 s.* \(2 attempts\)"):
            list(critic(server.base_url, tmp_path, slow).label([grey()] * 4))
        with pytest.raises(UserError, match=r"no answer in 0\.3 s"):
            list(critic(server.base_url, tmp_path, late).label([grey()]))
        assert time.monotonic() - began < 6.0


def test_without_the_client_it_is_said_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setattr("value_model.chat.client.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'policy-extraction\[vlm\]'"):
        list(critic("http://127.0.0.1:9/v1", tmp_path).label([grey()]))


def test_finished_answers_survive_a_failure(tmp_path):
    def breaks(request: dict, number: int) -> Reply:
        return failure(400, "broken") if max(brightness(request)) < 90 else good(request, number)

    one = dataclasses.replace(QUICK, concurrency=1)
    episodes = [grey(), grey(LEVELS[:15])]
    with VLMServer(breaks) as server:
        with pytest.raises(UserError, match="broken"):
            list(critic(server.base_url, tmp_path, one).label(episodes))
        list(critic(server.base_url, tmp_path, one).label(episodes[:1]))
        assert len(server.requests) == 2
    assert all("shares" in json.loads(file.read_text()) for file in tmp_path.glob("*.json"))


@pytest.mark.parametrize("concurrency", [1, 3])
def test_concurrency_is_bounded_and_order_is_kept(tmp_path, concurrency):
    episodes = [grey(LEVELS[: 10 + number]) for number in range(8)]
    with VLMServer(good, seconds=0.05) as server:
        connection = dataclasses.replace(QUICK, concurrency=concurrency)
        values = list(critic(server.base_url, tmp_path, connection).label(iter(episodes)))
    assert [len(value) for value in values] == [len(episode) for episode in episodes]
    assert server.most_at_once == concurrency and len(server.requests) == 8


def test_episodes_are_read_only_a_few_ahead(tmp_path):
    read = itertools.count()
    episodes = (grey(LEVELS[: 2 + number]) for number in range(19) if next(read) >= 0)
    with VLMServer(good) as server:
        labelled = critic(server.base_url, tmp_path).label(episodes)
        next(labelled)
        assert next(read) <= 2 * QUICK.concurrency
        labelled.close()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"frames": 1}, "frames ≥ 2"),
        ({"on_miss": "guess"}, "on_miss=guess must be error or undefined"),
        ({"base_url": "localhost:8000"}, "must begin with http"),
        ({"camera": "front"}, "no camera 'front'; it has workspace"),
    ],
)
def test_mistakes_in_the_settings_are_one_line(tmp_path, settings, message):
    with pytest.raises(UserError, match=message):
        list(critic(**{"base_url": "http://127.0.0.1:9/v1", "folder": tmp_path, **settings}).label([grey()]))


def test_a_video_without_instruction_is_one_line(tmp_path):
    with VLMServer(good) as server, pytest.raises(UserError, match="no instruction"):
        critic(server.base_url, tmp_path).values(np.zeros((4, 16, 16, 3), np.uint8), "  ")


def test_values_of_one_video(tmp_path):
    with VLMServer(good) as server:
        values = critic(server.base_url, tmp_path).values(grey().images["workspace"], "brighten the picture")
    np.testing.assert_allclose(values, LEVELS / 100, atol=1e-6)
