"""What all tests share: one thread a process, no waiting for the disk, and where the optional real scans lie."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # Read when numpy, torch and SimpleITK are imported, here and in every process that a test starts: the processes of
    # pytest-xdist share the cores, and threads that spin while they wait for a core made some tests ten times slower.
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
        os.environ.setdefault(name, "1")

with contextlib.suppress(ImportError):
    from hypothesis import HealthCheck, settings

    # The same examples on every computer, however slow it is; ``--hypothesis-profile=default`` searches anew.
    slow_or_shared = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
    settings.register_profile("suite", derandomize=True, deadline=None, suppress_health_check=slow_or_shared)
    settings.load_profile("suite")

REPOSITORY = Path(__file__).resolve().parent.parent
# Files that take more than some seconds (``pytest --durations``), start processes, or import everything (MONAI and
# Lightning take five processor seconds each, in every process of pytest-xdist); ``make quick`` leaves them out.
SLOW = frozenset(
    """
    test_a_further_head test_anatomy test_anatomy_network test_anatomy_refinement test_batch test_batch_clusters
    test_batch_results test_batch_studies test_brain_extraction_bundled test_brain_extraction_recipe
    test_checkpoints_bad_files test_checkpoints_download test_checkpoints_layouts test_checkpoints_store
    test_cli_models test_cli_process test_cohorts_synthetic test_data_prepare test_dicom_node test_dicom_objects
    test_dicom_objects_in_slicer test_dicom_server test_dicomweb_that_stops test_downstream_queue test_embedding_store
    test_end_to_end test_every_module test_exports_monai_bundle test_figures_of_runs test_front_door test_head_trainer
    test_head_training_cohorts test_head_training_command test_head_training_leaks test_kinds_recipe test_masks
    test_models test_models_in_panel test_open_questions test_overview_picture test_own_pretrainings test_panel
    test_predictor test_preprocessing_background test_preprocessing_bias_field test_preprocessing_brain_extraction
    test_preprocessing_pipeline test_preprocessing_registration test_pretraining_overlap test_pretraining_presets
    test_publishing test_publishing_crashes test_report_and_menu test_report_page test_reproduce test_saliency
    test_scans_dicom test_scans_mutations test_scans_nrrd_and_metaimage test_shipped_starter test_shipped_volumes
    test_spelling test_ssl_loss test_ssl_pretrain test_stability_and_saliency_of_folds test_stability_perturbations
    test_start test_starter_evaluation test_studies_bad_input test_studies_choice test_studies_header_rules
    test_studies_opening test_studies_report test_tables_of_runs test_training_commands test_volumes test_what_helps
    test_worker test_worker_batches test_worker_waits
    """.split()
)
LONGEST = """
    test_end_to_end test_head_training_cohorts test_preprocessing_brain_extraction test_worker test_predictor
    test_head_training_leaks test_ssl_pretrain test_models test_saliency test_checkpoints_store test_cli_models
    """.split()  # the longest first


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Not even import the slow files where they would be left out: that alone takes longer than many tests."""
    return True if config.option.markexpr == "not slow" and collection_path.stem in SLOW else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of slow files, and run these first: no process is left alone with one of them at the end.

    pytest-xdist keeps this order with ``--no-loadscope-reorder``.
    """
    for item in items:
        if item.path.stem in SLOW:
            item.add_marker("slow")

    def turn(item: pytest.Item) -> int:
        name = item.path.stem
        return LONGEST.index(name) if name in LONGEST else len(LONGEST) + (name not in SLOW)

    items.sort(key=turn)


@pytest.fixture(scope="module", autouse=True)
def _no_waiting_for_the_disk(request: pytest.FixtureRequest) -> Iterator[None]:
    """``os.fsync`` only looks at its handle: no test cuts the power, and thousands of files are synced.

    The tests of publishing sync for real.
    """
    if request.path.stem == "test_publishing":
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: os.fstat(file if isinstance(file, int) else file.fileno()) and None)
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of openly licensed real scans beside the repository; tests that need it are skipped without it."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not (folder / "MANIFEST.csv").is_file():
        pytest.skip("needs the real scans of ../shared/data, which are not here")
    return folder
