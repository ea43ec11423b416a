"""The physical truth behind each simulated galaxy, as a table of arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

GALAXY, STAR, ARTIFACT = 0, 1, 2
"""The values of ``Latents.kind``."""
CLUSTER, LINE, CHAIN, ALONG_ARMS = 0, 1, 2, 3
"""The values of ``Latents.clump_arrangement``."""


@dataclass(frozen=True)
class Latents:
    """What each of N objects is; every field is an array of shape ``(N,)``.

    Strengths are 0 where the feature is absent, and then its other fields mean nothing.
    """

    galaxy_id: Integers
    kind: npt.NDArray[np.int8]
    """0 galaxy, 1 star, 2 artifact."""
    redshift: Floats
    magnitude: Floats
    """AB, middle band."""
    signal_to_noise: Floats
    """Of the whole galaxy."""
    effective_radius: Floats
    """Arcseconds: the semi-major axis that holds half of the light."""
    axis_ratio: Floats
    """Of the visible outline, minor over major."""
    position_angle: Floats
    """Radians from the image's x axis towards its y axis, of the major axis."""
    inclination: Floats
    """Radians, 0 is face-on."""
    is_disk: Flags
    bulge_fraction: Floats
    """Bulge over total light; 1 for ellipticals."""
    bulge_sersic: Floats
    bulge_boxiness: Floats
    """0 round to 1 boxy."""
    bar_strength: Floats
    """Fraction of the disk's light."""
    bar_length: Floats
    """Half-length in disk scale lengths."""
    arm_strength: Floats
    """Contrast, 0 to 1."""
    arm_count: Integers
    pitch_angle: Floats
    """Degrees; small is tightly wound."""
    clump_strength: Floats
    """Fraction of the galaxy's light in clumps."""
    clump_count: Integers
    clump_arrangement: Integers
    """0 cluster, 1 line, 2 chain, 3 along the spiral arms."""
    clump_symmetric: Flags
    clump_embedded: Flags
    """Whether the clumps lie in a larger, smoother object."""
    ring_strength: Floats
    disturbance: Floats
    """0 settled to 1 torn."""
    companion_flux: Floats
    """Flux of a close companion over the galaxy's."""
    colour: Floats
    """Observed, in magnitudes between the outer bands: bluer < 0 < redder."""

    @property
    def clump_spiral(self) -> Flags:
        """Whether the clumps lie along spiral arms."""
        along: Flags = self.clump_arrangement == ALONG_ARMS
        return (self.clump_strength > 0) & along

    def __len__(self) -> int:
        return len(self.galaxy_id)

    def __getitem__(self, rows: slice | npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> Latents:
        return Latents.from_columns({name: c[rows] for name, c in self.to_columns().items()})

    def to_columns(self) -> dict[str, npt.NDArray[np.generic]]:
        """Field name to array, in the order of the fields."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_columns(cls, columns: Mapping[str, npt.ArrayLike]) -> Latents:
        """The inverse of ``to_columns``; other columns are ignored."""
        return cls(**{field.name: np.asarray(columns[field.name]) for field in fields(cls)})
