"""A critic behind HTTP on loopback: values in both forms, many clients at once, and every kind of bad request."""

import base64
import contextlib
import http.client
import io
import json
import socket
import threading
from dataclasses import replace
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from envs.errors import UserError
from experiments.serving.binding import Binding
from experiments.serving.value_server import ValueServer
from policy_extraction.remote.messages import pack, unpack
from tests.experiments.serving.loopback import serving

BIND = Binding(port=0, max_megabytes=1, clients=4)
MSGPACK = {"Content-Type": "application/msgpack"}


class Brightness:
    """Values are how bright the pictures are; it can be held up, and notes how many videos came together."""

    cameras = ("workspace", "wrist")

    def __init__(self):
        self.go, self.together = threading.Event(), []
        self.go.set()

    def values(self, frames, instruction, fps=None):
        return self.values_of_many([frames], [instruction], fps)[0]

    def values_of_many(self, videos, instructions, fps=None):
        self.together.append(len(videos))
        assert self.go.wait(10)
        if "fail" in instructions:
            raise RuntimeError("out of memory")
        if "refuse" in instructions:
            raise UserError("frames must be square")
        return [video.mean((1, 2, 3), dtype=np.float32) / 255 for video in videos]

    def label(self, episodes):
        raise NotImplementedError


@pytest.fixture(scope="module")
def critic():
    return Brightness()


@pytest.fixture(scope="module")
def url(critic):
    with serving(ValueServer(critic, BIND, max_frames=16, timeout=5.0).run) as address:
        yield address


def post(url, body, headers=None, path="/values"):
    """Status, and the answer."""
    with contextlib.closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)) as client:
        client.request("POST", path, body, headers or {})
        answer = client.getresponse()
        content = answer.read()
    if answer.headers["Content-Type"] == MSGPACK["Content-Type"]:
        return answer.status, unpack(content)
    return answer.status, json.loads(content)


def video(*levels, size=8):
    return np.stack([np.full((size, size, 3), level, np.uint8) for level in levels])


def png(picture):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def question(frames, text="stack", **more):
    return pack({"frames": frames, "instruction": text, **more})


def test_values_in_both_forms(url):
    both = np.concatenate([video(0, 51, 255), video(0, 51, 255)], axis=2)
    status, found = post(url, question(both, fps=20), MSGPACK)
    assert status == 200
    np.testing.assert_allclose(found["values"], [0, 0.2, 1], atol=1e-6)
    views = {"workspace": [png(p) for p in video(0, 255)], "wrist": [png(p) for p in video(255, 255)]}
    body = json.dumps({"frames": views, "instruction": "stack"})
    assert post(url, body) == (200, {"values": [0.5, 1.0]})


def test_it_says_what_it_sees(url):
    with contextlib.closing(http.client.HTTPConnection(urlsplit(url).netloc)) as client:
        client.request("GET", "/")
        assert json.loads(client.getresponse().read())["cameras"] == ["workspace", "wrist"]
        client.request("GET", "/healthz")  # on the same connection
        assert client.getresponse().read() == b"OK\n"


def test_what_comes_together_is_answered_together(url, critic):
    critic.go.clear()
    critic.together.clear()
    found = {}

    def ask(level, text="stack"):
        found[level] = post(url, question(video(level)[:, :, :4], text), MSGPACK)

    threads = [threading.Thread(target=ask, args=(level,)) for level in (0, 51)]
    threads.append(threading.Thread(target=ask, args=(102, "refuse")))
    threads[0].start()
    while not critic.together:
        pass  # the first is before the critic
    for thread in threads[1:]:
        thread.start()
    while len(threading.enumerate()) < 5:
        pass
    critic.go.set()
    for thread in threads:
        thread.join(10)
    assert [found[level][0] for level in (0, 51, 102)] == [200, 200, 400]
    assert found[51][1]["values"] == pytest.approx([0.2]) and found[102][1] == {
        "error": "frames must be square"
    }
    assert critic.together[0] == 1 and sum(critic.together) >= 3


BAD = {
    "nonsense": (b"\xc1\x00", MSGPACK, 400, "not a message"),
    "not JSON": (b"hello", {}, 400, "not JSON"),
    "a list": (b"[]", {}, 400, "JSON object"),
    "nested": (b"[" * 100_000, {}, 400, "not JSON"),
    "no instruction": (pack({"frames": video(1)}), MSGPACK, 400, "'instruction'"),
    "no frames": (pack({"instruction": "x"}), MSGPACK, 400, "'frames' must be a list"),
    "floats": (question(np.zeros((1, 8, 8, 3))), MSGPACK, 400, "uint8 [T, H, W, 3], not float64"),
    "one picture": (question(video(1)[0]), MSGPACK, 400, "one picture is [1, H, W, 3]"),
    "too many frames": (question(video(*range(17))), MSGPACK, 400, "17 frames are more than the 16"),
    "too large": (question(np.zeros((1, 1, 5000, 3), np.uint8)), MSGPACK, 400, "4096 pixels a side"),
    "a camera missing": (question({"wrist": video(1)}), MSGPACK, 400, "no 'workspace'"),
    "cameras that differ": (
        question({"wrist": video(1), "workspace": video(1, 1)}),
        MSGPACK,
        400,
        "differ in number",
    ),
    "fps": (question(video(1), fps=0), MSGPACK, 400, "'fps' must be positive"),
    "no picture": (
        json.dumps({"frames": ["aGVsbG8="], "instruction": "x"}),
        {},
        400,
        "picture 0 of 'frames' is no PNG",
    ),
    "another form": (b"", {"Content-Type": "text/html"}, 415, "is not read"),
    "too long": (bytes(2**20 + 1), MSGPACK, 413, "at most 1 MiB"),
    "two gigabytes": (b"", {"Content-Length": str(2**31)}, 413, "at most 1 MiB"),
    "no length": (None, {"Transfer-Encoding": "chunked"}, 411, "Content-Length"),
    "critic fails": (question(video(1), "fail"), MSGPACK, 500, "RuntimeError: out of memory"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_requests_are_one_line(url, kind, capfd):
    body, headers, status, says = BAD[kind]
    if kind == "fps":
        says = "'fps' must be a positive number"
    found, content = post(url, body, headers)
    assert found == status and says in content["error"] and "\n" not in content["error"]
    assert post(url, question(video(255)), MSGPACK)[0] == 200


def test_a_picture_that_grows_when_it_is_decoded(url):
    """A PNG of a few kilobytes may stand for any amount of memory."""
    file = io.BytesIO()
    Image.new("RGB", (4096, 4096)).save(file, "PNG")
    large = base64.b64encode(file.getvalue()).decode()
    body = json.dumps({"frames": [large] * 6, "instruction": "x"})
    assert len(body) < 2**20
    status, content = post(url, body)
    assert status == 400 and "too large for so many" in content["error"]


def test_other_paths(url):
    assert post(url, b"", path="/value")[0] == 404
    with contextlib.closing(http.client.HTTPConnection(urlsplit(url).netloc)) as client:
        client.request("DELETE", "/values")
        assert "error" in json.loads(client.getresponse().read())


def test_clients_that_send_nothing_take_no_more_than_their_places(url):
    address = (urlsplit(url).hostname, urlsplit(url).port)
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            silent = stack.enter_context(socket.create_connection(address))
            silent.sendall(b"POST /values HTTP/1.1\r\n")
        for body in [
            question(video(1)),
            bytes(2**23),
        ] * 5:  # a long one is still being sent when it is refused
            status, content = post(url, body, MSGPACK)
            assert status == 503 and "too many clients" in content["error"]
    for _ in range(100):
        status, _ = post(url, question(video(255)), MSGPACK)
        if status == 200:
            return
    pytest.fail("the places were not given back")


def test_a_slow_critic_and_a_key(monkeypatch):
    monkeypatch.setenv("VALUE_KEY", "sesame")
    critic = Brightness()
    bind = replace(BIND, key_variable="VALUE_KEY")
    with serving(ValueServer(critic, bind, max_frames=16, timeout=0.2).run) as url:
        assert post(url, question(video(1)), MSGPACK)[0] == 401
        assert post(url, bytes(2**23), MSGPACK)[0] == 401
        key = {**MSGPACK, "Authorization": "Bearer sesame"}
        assert post(url, question(video(1)), key)[0] == 200
        critic.go.clear()
        status, content = post(url, question(video(1)), key)
        assert status == 504 and "0.2 s" in content["error"]
        critic.go.set()
        assert post(url, question(video(1)), key)[0] == 200
