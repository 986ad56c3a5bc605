"""A policy server on loopback, asked by our client and by clients that behave badly."""

import asyncio
import contextlib
import urllib.request
from dataclasses import replace

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from envs.contract import EnvSpec
from envs.errors import UserError
from envs.types import Observation
from experiments.choices.remote import RemoteChoice
from experiments.serving.binding import Binding
from experiments.serving.policy_server import PolicyServer, Served
from policy_extraction.methods.bc import BC
from policy_extraction.remote.form import Form
from policy_extraction.remote.messages import pack, unpack
from policy_extraction.remote.policy import Connection, Server
from policy_extraction.types import PolicySpec, Sampling, Training
from tests.experiments.serving.loopback import serving

SPEC = PolicySpec(cameras=("workspace",), image_size=32, proprio_dim=3, action_dim=2, action_horizon=4)
ENV = EnvSpec(
    {"workspace": (32, 32), "wrist": (32, 32)}, 3, (-1.0, -1.0), (1.0, 1.0), 20.0, 50, "stack the cubes"
)
BIND = Binding(port=0, max_megabytes=1, clients=3)


class Echo:
    """Actions made of what it saw, so that a part that went astray shows."""

    def act(self, observation, seeds):
        if observation.instruction == ("fail",):
            raise RuntimeError("out of memory on the GPU")
        bright = observation.images["workspace"].mean() / 255
        rows = [[bright, observation.proprio[0, 0]], [seeds[0] % 100, len(observation.instruction[0])]]
        return np.array([[*rows, *rows]], np.float32)


@pytest.fixture(scope="module")
def url():
    with serving(PolicyServer(Served(Echo(), SPEC, Form(), {"control_rate": 20.0}), BIND).run) as address:
        yield address


def seen(bright=0, state=0.0, text="stack"):
    images = {name: np.full((1, 32, 32, 3), bright, np.uint8) for name in ENV.cameras}
    return Observation(images, np.full((1, 3), state, np.float32), (text,))


@pytest.fixture
def made():
    """Makes the policy of a choice, and closes it in the end."""
    with contextlib.ExitStack() as stack:

        def make(choice):
            return stack.enter_context(contextlib.closing(choice.make(ENV, Training(), 0)))

        yield make


def test_a_policy_acts_from_afar(url, made):
    choice = RemoteChoice(url=url)
    assert choice.shape(ENV) == SPEC
    policy = made(choice)
    two = Observation(
        {"workspace": np.stack([seen(255).images["workspace"][0], seen(0).images["workspace"][0]])},
        np.array([[0.5, 0, 0], [2, 0, 0]], np.float32),
        ("stack", "go"),
    )
    chunks = policy.act(two, np.array([7, 12]))
    np.testing.assert_allclose(chunks[:, :2], [[[1, 0.5], [7, 5]], [[0, 2], [12, 2]]])
    assert chunks.shape == (2, 4, 2) and chunks.dtype == np.float32
    with pytest.raises(UserError, match="no temperature"):
        policy.act(two, np.array([7, 12]), Sampling(temperature=0.5))


def test_it_is_not_trained(url, made, tmp_path):
    policy = made(RemoteChoice(url=url))
    calls = [
        lambda: policy.update({}, BC()),
        lambda: policy.save(tmp_path),
        lambda: policy.preprocess(seen()),
    ]
    for call in calls:
        with pytest.raises(UserError, match="cannot be trained"):
            call()


def test_openpis_way_of_talking(url):
    with connect(url, compression=None) as client:
        metadata = unpack(client.recv())
        assert metadata["action_horizon"] == 4 and metadata["control_rate"] == 20
        message = Form().request(seen(255, 0.5), 0, ("workspace",))
        for endpoint in ({}, {"endpoint": "infer"}):
            client.send(pack(message | endpoint))
            answer = unpack(client.recv())
            np.testing.assert_allclose(answer["actions"][0], [1, 0.5])
            assert answer["server_timing"]["infer_ms"] >= 0
        assert answer["server_timing"]["prev_total_ms"] > 0
        client.send(pack({"endpoint": "reset", "session_id": "a"}))
        assert client.recv() == "reset successful"
    with urllib.request.urlopen(url.replace("ws", "http") + "/healthz") as health:
        assert health.status == 200


MESSAGES = {
    "nonsense": (b"\xc1\x00\xff", "not a message"),
    "text": ("hello", "a text came"),
    "no picture": (pack({"prompt": "x"}), "no 'observation/workspace'; it has prompt"),
    "no prompt": (pack(Form().request(seen(text=" "), 0, ("workspace",))), "'prompt' must be a text"),
    "picture of floats": (
        pack({**Form().request(seen(), 0, ("workspace",)), "observation/workspace": np.zeros((32, 32, 3))}),
        "uint8",
    ),
    "seed": (pack({**Form().request(seen(), 0, ("workspace",)), "seed": -1}), "'seed' must be"),
    "endpoint": (pack({"endpoint": "shutdown"}), "infer or reset"),
    "failing policy": (pack(Form().request(seen(text="fail"), 0, ("workspace",))), "out of memory"),
}


@pytest.mark.parametrize("kind", MESSAGES)
def test_a_bad_message_ends_its_own_connection_alone(url, kind, capfd):
    message, says = MESSAGES[kind]
    with connect(url, compression=None) as good, connect(url, compression=None) as bad:
        for client in (good, bad):
            client.recv()
        bad.send(message)
        said = bad.recv()
        assert isinstance(said, str) and says in said and "\n" not in said
        with pytest.raises(ConnectionClosed, match="1011"):
            bad.recv()
        good.send(pack(Form().request(seen(), 0, ("workspace",))))
        assert unpack(good.recv())["actions"].shape == (4, 2)


def test_more_than_is_taken_is_cut_off(url):
    with connect(url, compression=None) as client:
        client.recv()
        client.send(bytes(2**20 + 1))
        with pytest.raises(ConnectionClosed, match="1009"):
            client.recv()
    assert RemoteChoice(url=url).shape(ENV) == SPEC


def test_too_many_clients_are_sent_away(url):
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(connect(url, compression=None)).recv()
        with pytest.raises(UserError, match="HTTP status 503"):
            Connection(Server(url))


def test_a_port_in_use(url):
    server = PolicyServer(Served(Echo(), SPEC, Form(), {}), replace(BIND, port=int(url.rsplit(":", 1)[1])))
    with pytest.raises(UserError, match="is in use; choose another"):
        asyncio.run(server.run(print, asyncio.Event()))


def test_a_key(monkeypatch):
    monkeypatch.setenv("ROBOT_KEY", "sesame")
    bind = replace(BIND, key_variable="ROBOT_KEY")
    with serving(PolicyServer(Served(Echo(), SPEC, Form(), {}), bind).run) as url:
        with pytest.raises(UserError, match=r"401\); it wants a key"):
            RemoteChoice(url=url).shape(ENV)
        assert RemoteChoice(url=url, key_variable="ROBOT_KEY").shape(ENV) == SPEC
    with pytest.raises(UserError, match="no such environment variable"):
        replace(bind, key_variable="NO_SUCH_KEY").key()


async def talk(answers, connection):
    """Sends metadata, then one answer for each message."""
    await connection.send(pack({"model": "another"}))
    for answer in answers:
        await connection.recv()
        if answer is None:
            await asyncio.sleep(1)
        elif answer == "drop":
            connection.transport.abort()
            return
        else:
            await connection.send(answer)


def foreign(answers):
    """A server that gives these answers to every client."""
    from websockets.asyncio.server import serve

    async def run(ready, stop):
        async with serve(lambda c: talk(answers, c), "127.0.0.1", 0, max_size=None) as server:
            ready(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}")
            await stop.wait()

    return run


FINE = pack({"actions": np.zeros((8, 2))})
ANSWERS = {
    "slow": (None, "did not answer within 0.3 s"),
    "dropped": ("drop", "closed the connection"),
    "text": ("Traceback\n  File x\nRuntimeError: no memory\n", "failed: RuntimeError: no memory"),
    "nonsense": (b"\xc1", "does not speak openpi's protocol"),
    "no actions": (pack({"action": 1}), "no 'actions'; it has action"),
    "flat": (pack({"actions": np.zeros(2)}), r"shape \[2\]"),
    "other robot": (pack({"actions": np.zeros((8, 7))}), "7 numbers an action where 2 are needed"),
    "NaN": (pack({"actions": np.full((8, 2), np.nan)}), "NaN"),
    "short": (pack({"actions": np.zeros((3, 2))}), "gave 3 actions after 8"),
    "huge": (bytes(2**20 + 1), "code 1009"),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_a_foreign_servers_failures_are_one_line(kind, made):
    answer, says = ANSWERS[kind]
    with serving(foreign([FINE, FINE, answer])) as url:
        choice = RemoteChoice(url=url, timeout=0.3, max_megabytes=1, cameras=("workspace",), image_size=64)
        assert choice.shape(ENV).action_horizon == 8
        policy = made(choice)
        policy.act(seen(), np.array([1]))
        with pytest.raises(UserError, match=says) as error:
            policy.act(seen(), np.array([1]))
        assert "\n" not in str(error.value)


def test_what_is_no_policy_server():
    with pytest.raises(UserError, match="must be the address of a server"):
        RemoteChoice(url="http://localhost:8000")
    with pytest.raises(UserError, match=r"policy\.url=ws://host:port"):
        RemoteChoice()
    with pytest.raises(UserError, match=r"no policy server answers at ws://127\.0\.0\.1:9"):
        RemoteChoice(url="ws://127.0.0.1:9").shape(ENV)
    with serving(foreign([FINE])) as url, pytest.raises(UserError, match="camera 'front'"):
        RemoteChoice(url=url, cameras=("front",)).shape(ENV)
