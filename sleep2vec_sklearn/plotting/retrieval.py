# SPDX-License-Identifier: BSD-3-Clause
"""Cross-modal retrieval as a heatmap."""

from __future__ import annotations

from .palette import annotate_cells

__all__ = ["RetrievalDisplay"]

_LABELS = {
    "recall_1": "Recall@1",
    "recall_5": "Recall@5",
    "median_rank": "Median rank",
    "loss": "Contrastive loss (nats)",
}
_CHANCE = {"recall_1": "chance_1", "recall_5": "chance_5", "median_rank": "chance_rank"}
_SCOPES = {"nights": "among epochs of all nights", "night": "among epochs of the same night"}


class RetrievalDisplay:
    """How well an epoch seen by one sensor (row) finds itself seen by another (column).

    Parameters
    ----------
    result : CrossModalRetrieval
        Of :func:`cross_modal_retrieval`.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    image_ : AxesImage
    table_ : DataFrame
        What is drawn.

    Examples
    --------
    >>> from sleep2vec_sklearn import cross_modal_retrieval, make_sleep_cohort
    >>> from sleep2vec_sklearn.plotting import RetrievalDisplay
    >>> nights = make_sleep_cohort(
    ...     3, hours=1, modalities=["ibi", "effort"], missing=0, random_state=0
    ... )
    >>> result = cross_modal_retrieval("sleep2vec-mini", nights, n_candidates=100)
    >>> RetrievalDisplay.from_results(result, scope="night").table_.columns.tolist()
    ['effort', 'ibi']
    """

    def __init__(self, result):
        self.result = result

    @classmethod
    def from_estimator(
        cls, checkpoint, recordings, *, measure="recall_1", scope="nights", ax=None, **parameters
    ) -> RetrievalDisplay:
        """Run :func:`cross_modal_retrieval` and draw it.

        Parameters
        ----------
        checkpoint : str, path, Checkpoint, or fitted Sleep2VecTransformer or Sleep2VecPretrainer
        recordings : list of Recording or dict
        """
        from ..probing import cross_modal_retrieval

        given = getattr(checkpoint, "checkpoint", checkpoint)
        checkpoint = given() if callable(given) else given
        result = cross_modal_retrieval(checkpoint, recordings, scopes=[scope], **parameters)
        return cls(result).plot(ax, measure=measure, scope=scope)

    @classmethod
    def from_results(
        cls, result, *, measure="recall_1", scope="nights", ax=None
    ) -> RetrievalDisplay:
        """Draw a result; see :meth:`plot`."""
        return cls(result).plot(ax, measure=measure, scope=scope)

    def plot(self, ax=None, *, measure="recall_1", scope="nights") -> RetrievalDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            A new figure by default.
        measure : {"recall_1", "recall_5", "median_rank", "loss"}
        scope : {"nights", "night"}

        Raises
        ------
        ValueError
            If the result lacks the measure or the scope.
        """
        if measure not in _LABELS:
            raise ValueError(f"measure must be one of {', '.join(_LABELS)}; got {measure!r}.")
        self.table_ = self.result.matrix(measure, scope)
        values = self.table_.to_numpy(dtype=float)
        names = list(self.table_.columns)
        if ax is None:
            import matplotlib.pyplot as plt

            side = 1.6 + 0.55 * len(names)
            _, ax = plt.subplots(figsize=(side + 1.4, side), layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        share = measure.startswith("recall")
        # good is bright in either case
        cmap = "viridis" if share else "viridis_r"
        self.image_ = ax.imshow(values, cmap=cmap, **({"vmin": 0} if share else {}))
        form = "{:.2f}" if share or measure == "loss" else "{:.0f}"
        annotate_cells(self.image_, values, lambda r, c: form.format(values[r, c]))
        ax.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
        ax.set_yticks(range(len(names)), names)
        ax.set(xlabel="Found in", ylabel="Asked for by")
        ax.set_title(f"{_LABELS[measure]} {_SCOPES[scope]}", fontsize=10)
        self.figure_.colorbar(self.image_, ax=ax, label=self._describe_chance(measure, scope))
        return self

    def _describe_chance(self, measure: str, scope: str) -> str:
        if measure not in _CHANCE:
            return _LABELS[measure]
        rows = self.result.summary[self.result.summary["scope"] == scope]
        return f"{_LABELS[measure]} (chance {rows[_CHANCE[measure]].mean():.3g})"
