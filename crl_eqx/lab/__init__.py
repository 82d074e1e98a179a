"""Several runs that differ in a choice or two: seeds, depths, whatever else."""

from ._ablations import ablations as ablations, PARTS as PARTS
from ._conclusions import conclusions as conclusions
from ._forecast import (
    Forecast as Forecast,
    forecast as forecast,
    physics_rates as physics_rates,
    shortage as shortage,
    too_slow as too_slow,
)
from ._generalize import (
    generalize as generalize,
    Measured as Measured,
    read_generalization as read_generalization,
)
from ._jobs import (
    check_programs as check_programs,
    FAILURE as FAILURE,
    Finish as Finish,
    train_runs as train_runs,
    train_sweep as train_sweep,
)
from ._report import compare as compare, report as report
from ._results import (
    Group as Group,
    METRIC as METRIC,
    read_results as read_results,
    Result as Result,
    Results as Results,
)
from ._slurm import Cluster as Cluster, Resources as Resources, submit_sweep as submit_sweep
from ._statistics import (
    Band as Band,
    band as band,
    difference as difference,
    interquartile_mean as interquartile_mean,
    Interval as Interval,
    interval as interval,
    permutation_test as permutation_test,
    probability_of_improvement as probability_of_improvement,
)
from ._sweep import (
    begin_sweep as begin_sweep,
    load_sweep as load_sweep,
    Sweep as Sweep,
    undone_if_refused as undone_if_refused,
    update_sweep as update_sweep,
)
from ._table import table as table
