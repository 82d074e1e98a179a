"""The parts of a run, made from its configuration: here words become objects, and mistakes are
found."""

from ._check import check as check, check_counts as check_counts
from ._make import (
    make_acting as make_acting,
    make_agent as make_agent,
    make_collecting as make_collecting,
    make_env as make_env,
    make_far as make_far,
    make_regions as make_regions,
    make_task as make_task,
    make_train_step as make_train_step,
    sizes as sizes,
    task_from_words as task_from_words,
)
from ._needs import check_needs as check_needs, idle as idle
from ._objective import (
    KINDS as KINDS,
    make_objective as make_objective,
    OWNERS as OWNERS,
    SHARES as SHARES,
    with_objective as with_objective,
)
from ._optimizers import make_optimizers as make_optimizers
from ._resolve import on_this_machine as on_this_machine, resolved as resolved
