"""Experience on disk: a LeRobotDataset v3.0 folder, ours or anyone's, read an episode at a time.

with StoreWriter(folder) as writer: writer.add(episode)
store = open_store(folder)
for episode in store: ...            one episode in memory at a time
store.episode_info(3).style          nothing is decoded
store.frames(3, "workspace")         one camera of one episode
merge_stores([part_0, part_1], folder)
"""

from envs.store.merge import merge_stores
from envs.store.reader import EpisodeInfo, Store, open_store
from envs.store.writer import StoreWriter, write_store

__all__ = ["EpisodeInfo", "Store", "StoreWriter", "merge_stores", "open_store", "write_store"]
