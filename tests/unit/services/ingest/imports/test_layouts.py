"""The four sets of the paper come in by settings alone; each is drawn here in small."""

from collections.abc import Callable
from typing import Any

Draw = Callable[..., bytes]


def test_pbc_folders_of_jpeg(lab: Any, draw: Draw) -> None:
    files = {
        "PBC_dataset_normal_DIB/basophil/BA_1.jpg": draw(1, "JPEG"),
        "PBC_dataset_normal_DIB/ig/MMY_2.jpg": draw(2, "JPEG"),
        "PBC_dataset_normal_DIB/ig/PMY_3.jpg": draw(3, "JPEG"),
        "PBC_dataset_normal_DIB/.DS_Store": b"x",
    }
    lab.import_(files)
    assert lab.version()["classes"] == ["basophil", "ig"]
    assert lab.version()["counts"] == [1, 2]


def test_cnmc_folds_of_folders_with_the_patient_in_the_name(lab: Any, draw: Draw) -> None:
    files = {
        "C-NMC/fold_0/all/UID_11_1_1_all.bmp": draw(1, "BMP"),
        "C-NMC/fold_0/all/UID_11_2_1_all.bmp": draw(2, "BMP"),
        "C-NMC/fold_1/all/UID_8_1_1_all.bmp": draw(3, "BMP"),
        "C-NMC/fold_0/hem/UID_H10_1_1_hem.bmp": draw(4, "BMP"),
        "C-NMC/fold_1/hem/UID_H14_1_1_hem.bmp": draw(5, "BMP"),
    }
    lab.import_(files, group_pattern=r"UID_([^_]+)_")
    version = lab.version()
    assert (version["classes"], version["counts"], version["groups"]) == (["all", "hem"], [3, 2], 4)
    groups: dict[str, set[int]] = {}
    for sample in lab.samples():
        groups.setdefault(sample["name"].split("_")[2], set()).add(sample["group"])
    assert {name: len(numbers) for name, numbers in groups.items()} == {"11": 1, "8": 1, "H10": 1, "H14": 1}
    assert {number for numbers in groups.values() for number in numbers} == {0, 1, 2, 3}
    assert "groups_in_one_class" in lab.findings()


def test_all_idb2_with_the_label_in_the_name(lab: Any, draw: Draw) -> None:
    files = {f"ALL_IDB2/img/Im00{n}_{n % 2}.tif": draw(n, "TIFF") for n in range(1, 5)}
    lab.import_(files, label_pattern=r"_(?P<label>[01])\.tif$", label_names={"1": "ALL", "0": "healthy"})
    assert lab.version()["classes"] == ["ALL", "healthy"]
    assert lab.version()["counts"] == [2, 2]


def test_lisc_folders(lab: Any, draw: Draw) -> None:
    files = {
        f"LISC/Main Dataset/{name}/{name}_1.bmp": draw(n, "BMP") for n, name in enumerate(("Baso", "eosi", "mono"))
    }
    lab.import_(files)
    assert lab.version()["classes"] == ["Baso", "eosi", "mono"]


def test_labels_groups_and_folds_from_a_csv(lab: Any, draw: Draw) -> None:
    csv = "file,label,patient,fold\na.png,x,p1,0\nb.png,y,p1,1\nc.png,x,p2,1\n"
    files = {"a.png": draw(1), "b.png": draw(2), "c.png": draw(3), "d.png": draw(4)}
    state = lab.import_(files, labels_csv=csv)
    assert (state.stored, state.refused) == (3, 1)
    assert lab.version()["classes"] == ["x", "y"]
    assert lab.version()["groups"] == 2
