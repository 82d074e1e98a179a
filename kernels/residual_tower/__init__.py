"""A stack of residual blocks as one operation, whatever its depth."""

from ._api import (
    check_implementation as check_implementation,
    choose as choose,
    Implementation as Implementation,
    residual_tower as residual_tower,
    residual_towers as residual_towers,
)
from ._reference import reference as reference, TowerParams as TowerParams
