"""Experience on disk: a LeRobot data set, ours (v3.0) or anyone's (v3.0, v2.x), read an episode at a time.

with StoreWriter(folder) as writer: writer.add(episode)
store = open_store(folder)                          or open_store(folder, Reading(exclude=(3,), action="actions"))
for episode in store: ...            one episode in memory at a time
store.episode_info(3).style          nothing is decoded
store.frames(3, "workspace")         one camera of one episode
merge_stores([part_0, part_1], folder)
"""

from envs.store.merge import merge_stores
from envs.store.reader import Store, open_store
from envs.store.reading import Reading
from envs.store.spec import DatasetSpec, EpisodeInfo
from envs.store.writer import StoreWriter, write_store

__all__ = [
    "DatasetSpec",
    "EpisodeInfo",
    "Reading",
    "Store",
    "StoreWriter",
    "merge_stores",
    "open_store",
    "write_store",
]
