"""What a run is to do, as data: its fields, the flags that name them, its presets and its file."""

from ._choices import (
    CHANGEABLE as CHANGEABLE,
    choice_of as choice_of,
    differences as differences,
    experiment_checksum as experiment_checksum,
    experiment_flags as experiment_flags,
    file_name as file_name,
    flag as flag,
    flat as flat,
    OTHER_RUNS as OTHER_RUNS,
    replaced as replaced,
)
from ._config import (
    ActingName as ActingName,
    Compute as Compute,
    CONFIG as CONFIG,
    Config as Config,
    Data as Data,
    EnergyName as EnergyName,
    Evaluation as Evaluation,
    GENERALIZATION as GENERALIZATION,
    Learning as Learning,
    Logging as Logging,
    LossName as LossName,
    Network as Network,
    ObjectiveName as ObjectiveName,
    PresetName as PresetName,
    SWEEP as SWEEP,
)
from ._file import (
    as_config as as_config,
    load_config as load_config,
    read_config as read_config,
    save_config as save_config,
    write_config as write_config,
)
from ._presets import PRESETS as PRESETS
from ._words import in_flags as in_flags
from ._world import Gymnasium as Gymnasium, Randomization as Randomization, Task as Task
