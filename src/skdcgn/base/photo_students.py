"""Students of a photo CGN, in about ten minutes of two cores at 64 pixels: the preset ``photos`` of query and distill.

Noise picks one of some hundred photographs of a class, so each mechanism has a memory with a code for each photograph;
the network that draws them has few layers at full resolution, for steps to be cheap.
"""

from skdcgn.base.config import Distance, DistillConfig, QueryConfig, Store, StudentConfig

PHOTO_QUERY = QueryConfig(shape=20_000, texture=20_000, background=20_000, store=Store.UINT8)
PHOTO_STUDENT = StudentConfig(channels=(128, 64), grid=8, embedding=16, rank=64, memory=256)
PHOTO_DISTILL = DistillConfig(
    steps=2000,
    batch_size=32,
    learning_rate=3e-3,
    masks=Distance.L2,
    shape=PHOTO_STUDENT,
    texture=PHOTO_STUDENT,
    background=PHOTO_STUDENT,
)
