"""The greatest numbers that configurations, files and options may hold, each stated here alone.

Sizes are bounded before memory is asked for; rates, weights and amounts, so that results stay finite in float32.
"""

from typing import Annotated

from pydantic import Field

MOST_SEED = 2**63 - 1  # PyTorch's generators take 64 bits, with a sign
MOST_COUNT = 10**9  # of pictures, pairs, steps, epochs
MOST_BATCH = 10**5  # pictures at once, and pairs of a file
MOST_IMAGES = 10**7  # of a training set in memory
MOST_SIDE = 4096  # pixels
MOST_CHANNELS = 4096  # of a layer, an embedding or noise
MOST_LAYERS = 12  # each doubles the side
MOST_CLASSES = 10**6
MOST_SEEDS = 1000  # of a study
MOST_COMPARED = 10**6  # counterfactuals whose features are held in memory
LEAST_AUDITED, MOST_AUDITED = 50, 10**6  # base pictures of an audit, whose decisions are held in memory
MOST_FRAMES = 1000  # of an interpolation, held in memory
MOST_RANKS = 10**5
MOST_THREADS = 1024
MOST_RATE = 1e30  # of learning; float32 holds it, and a training that diverges is stopped
MOST_WEIGHT = 1e6  # of a term of a loss; also the greatest amount of an intervention
MOST_PARAMETERS = 10**12
MOST_MEASURE = 1e12  # of a result: a distance, pictures per second, seconds

Seed = Annotated[int, Field(ge=0, le=MOST_SEED)]
Whole = Annotated[int, Field(ge=0, le=MOST_COUNT)]
Count = Annotated[int, Field(gt=0, le=MOST_COUNT)]
Images = Annotated[int, Field(gt=0, le=MOST_IMAGES)]
Batch = Annotated[int, Field(gt=0, le=MOST_BATCH)]
Side = Annotated[int, Field(gt=0, le=MOST_SIDE)]
ClassCount = Annotated[int, Field(gt=0, le=MOST_CLASSES)]
Channels = Annotated[int, Field(gt=0, le=MOST_CHANNELS)]
Layers = Annotated[tuple[Channels, ...], Field(max_length=MOST_LAYERS)]
Dimension = Annotated[int, Field(ge=0, le=MOST_CHANNELS)]
Rate = Annotated[float, Field(gt=0, le=MOST_RATE)]
Weight = Annotated[float, Field(ge=0, le=MOST_WEIGHT)]
Temperature = Annotated[float, Field(ge=1e-3, le=MOST_WEIGHT)]
Factor = Annotated[float, Field(gt=0, le=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
Parameters = Annotated[int, Field(gt=0, le=MOST_PARAMETERS)]
Measure = Annotated[float, Field(ge=-MOST_MEASURE, le=MOST_MEASURE)]
Duration = Annotated[float, Field(ge=0, le=MOST_MEASURE)]
Speed = Annotated[float, Field(gt=0, le=MOST_MEASURE)]
Percent = Annotated[float, Field(ge=0, le=100)]
