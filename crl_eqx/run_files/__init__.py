"""What a run directory holds beside its state: a lock, the user's own task, what made it, and rows
of metrics.

Its configuration is written by `crl_eqx.config`, and its arrays by `crl_eqx.store`.
"""

from ._directory import (
    alone as alone,
    default_run_dir as default_run_dir,
    prepare_run_dir as prepare_run_dir,
)
from ._provenance import (
    provenance as provenance,
    read_provenance as read_provenance,
    record_provenance as record_provenance,
)
from ._task_files import (
    has_changed as has_changed,
    keep_task as keep_task,
    kept_task as kept_task,
    task_file as task_file,
    TASK_FILES as TASK_FILES,
)
from ._trust import (
    check_same_task as check_same_task,
    fingerprint as fingerprint,
    is_trusting as is_trusting,
    remember as remember,
    require_trust as require_trust,
    trusting as trusting,
    with_absolute_path as with_absolute_path,
)
from ._writers import read_metrics as read_metrics, Writers as Writers
