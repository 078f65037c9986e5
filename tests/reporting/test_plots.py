import io

import numpy as np
import PIL.Image
import pytest

from jaxclip.reporting import plots
from jaxclip.reporting.scorecard import scorecard_tables


def text_of(figure):
    return {text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))}


def visible(figure):
    return [axis for axis in figure.axes if axis.get_visible()]


def test_png_can_be_opened_and_is_reproducible(similarities):
    first, second = (plots.png(plots.similarity_histograms(similarities)) for _ in range(2))
    assert PIL.Image.open(io.BytesIO(first)).format == "PNG" and first == second


def test_histograms_share_axes_and_leave_undefined_values_out(similarities):
    similarities["base"]["caption"][:2] = np.nan, np.inf
    figure = plots.similarity_histograms(similarities)
    top, bottom = figure.axes
    assert top.get_xlim() == bottom.get_xlim() and top.get_ylim() == bottom.get_ylim()
    mean = similarities["base"]["caption"][2:].mean()
    assert f"caption, true\nmean {mean:.3f}" in text_of(figure)
    assert {"base", "final"} <= text_of(figure) and not any("absence" in text for text in text_of(figure))


@pytest.mark.parametrize("values", [[], [np.nan, np.nan], [0.25, 0.25]])
def test_histograms_survive_degenerate_values(values):
    plots.png(plots.similarity_histograms({"base": {"caption": np.array(values), "negation": np.array([])}}))


@pytest.mark.parametrize(("count", "bins"), [(25, 12), (400, 40), (5000, 60)])
def test_few_values_get_few_bins(count, bins):
    values = np.random.default_rng(0).normal(size=count)
    (axis,) = plots.similarity_histograms({"base": {"caption": values}}).axes
    ((edges, heights),) = [(patch.get_data().edges, patch.get_data().values) for patch in axis.patches][:1]
    assert len(edges) == bins + 1
    np.testing.assert_allclose(heights, np.histogram(values, edges)[0] / count)


def test_training_curves_have_a_panel_for_each_number():
    rows = [{"step": step, "loss": 1 / step, "note": "text", "flag": True} for step in range(1, 6)]
    rows += [{"step": 5, "gradient_norm": np.nan}, {"step": 6, "gradient_norm": 0.5, "learning_rate": 1e-4}]
    figure = plots.training_curves(rows)
    assert [axis.get_title(loc="left") for axis in visible(figure)] == ["loss", "gradient norm", "learning rate"]
    steps, losses = figure.axes[0].lines[0].get_data()
    assert list(steps) == [1, 2, 3, 4, 5] and list(losses) == [1 / step for step in range(1, 6)]
    plots.png(figure)


def test_a_long_noisy_curve_has_its_running_mean_on_top():
    noise = np.random.default_rng(0).normal(size=200)
    rows = [{"step": i, "noisy": float(value), "smooth": float(i)} for i, value in enumerate(noise)]
    noisy, smooth = visible(plots.training_curves(rows))
    assert len(noisy.lines) == 2 and len(smooth.lines) == 1
    mean = noisy.lines[1].get_ydata()
    width = 200 // 25
    np.testing.assert_allclose(mean[100], noise[100 - width // 2 : 100 + width // 2].mean())
    np.testing.assert_allclose(mean[0], noise[: width // 2].mean())


def test_no_rows_and_rows_without_a_step():
    plots.png(plots.training_curves([]))
    with pytest.raises(ValueError, match="row 1 has no step"):
        plots.training_curves([{"step": 1}, {"loss": 1.0}])


def test_score_dots_place_every_score(document):
    table = scorecard_tables(document)[0]
    figure = plots.score_dots(table)
    axis = figure.axes[0]
    base, final = (line for line in axis.lines if line.get_label() in ("base", "final"))
    expected = [[100 * row.cells[column].score["value"] for row in table.rows] for column in (0, 1)]
    np.testing.assert_allclose([base.get_xdata(), final.get_xdata()], expected)
    assert axis.get_xlim()[0] < -2.5 and axis.get_xlim()[1] > 100
    assert {"Negation", "Zero-shot", "cifar10, negated prompts (lower is better)"} <= text_of(figure)
    assert base.get_markerfacecolor() == "white" != final.get_markerfacecolor()
    plots.png(figure)


def test_score_dots_with_a_missing_score_and_many_checkpoints(document):
    scores = document["checkpoints"]["final"]
    document["checkpoints"] |= {f"step {i}": scores for i in range(8)}
    for table in scorecard_tables(document):
        plots.png(plots.score_dots(table))
