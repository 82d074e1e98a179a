"""A stack of residual blocks as one operation, whatever its depth."""

from ._api import (
    check_compute as check_compute,
    choose as choose,
    chosen as chosen,
    residual_tower as residual_tower,
    residual_towers as residual_towers,
    runs_together as runs_together,
    takes_first as takes_first,
)
from ._reference import reference as reference, TowerParams as TowerParams
