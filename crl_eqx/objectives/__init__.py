"""What a critic learns from and what a policy maximises, one small class per file."""

from ._base import AbstractObjective as AbstractObjective
from ._crl import check_shares as check_shares, CRL as CRL
