"""Galaxy views: the random changes that leave a galaxy what it is.

A galaxy on the sky has no up, no handedness and no preferred distance, and the telescope adds
blur and noise; its colours carry physics. So a view turns, mirrors, zooms and shifts freely,
blurs and adds noise, and touches the colours only mildly (Walmsley et al. 2024, arXiv:2404.02973;
Hayat et al. 2021, ApJL 911, L33). Every draw is a hash of (seed, epoch, view, galaxy), so views do
not depend on the batch, the process or the thread.
"""

from gzfound.views.config import ViewConfig
from gzfound.views.make import make_views

__all__ = ["ViewConfig", "make_views"]
