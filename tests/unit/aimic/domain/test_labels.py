"""Labels come from where the rule says, and from nowhere else."""

import time

import pytest

from aimic.domain.dataset import LabelRule, Refusal
from aimic.domain.labels import Labelled, compile_rule
from aimic.domain.patterns import MAX_PATH, compile_pattern
from aimic.errors import InvalidInputError


def of(path: str, **rule: object) -> Labelled | Refusal:
    return compile_rule(LabelRule.model_validate(rule)).of(path)


class TestThePapersFourSets:
    """Each imports by settings alone."""

    def test_pbc_has_a_folder_per_class(self) -> None:
        assert of("PBC_dataset_normal_DIB/basophil/BA_101381.jpg") == Labelled("basophil")

    @pytest.mark.parametrize(
        ("path", "label", "group"),
        [
            ("C-NMC/fold_0/all/UID_57_29_2_all.bmp", "all", "57"),
            ("fold_1/hem/UID_H12_3_1_hem.bmp", "hem", "H12"),
            ("fold_2/hem/UID_H120_3_1_hem.bmp", "hem", "H120"),
        ],
    )
    def test_cnmc_has_the_patient_in_the_name(self, path: str, label: str, group: str) -> None:
        assert of(path, group_pattern="UID_([^_]+)_") == Labelled(label, group)

    def test_all_idb2_has_the_label_in_the_name(self) -> None:
        rule = {"label_pattern": r"_(?P<label>[01])\.", "label_names": {"1": "ALL", "0": "healthy"}}
        assert of("ALL_IDB2/img/Im001_1.tif", **rule) == Labelled("ALL")
        assert of("ALL_IDB2/img/Im131_0.tif", **rule) == Labelled("healthy")

    def test_lisc_has_a_folder_per_class(self) -> None:
        assert of("LISC Database/Main Dataset/Baso/1.bmp") == Labelled("Baso")


class TestFolders:
    def test_it_is_the_folder_directly_above_and_never_a_part_of_the_path(self) -> None:
        assert of("lymphocytes/neutrophil/monocyte_1.png") == Labelled("neutrophil")

    def test_a_file_in_no_folder_is_refused(self) -> None:
        refused = of("cell.png")
        assert isinstance(refused, Refusal)
        assert (refused.name, refused.code) == ("cell.png", "no_label")

    def test_a_windows_path_and_decomposed_umlauts_are_the_same_label(self) -> None:
        assert of("set\\Gra\u0308nulozyt\\1.png") == of("set/Gr\u00e4nulozyt/1.png") == Labelled("Gr\u00e4nulozyt")

    def test_control_characters_are_refused(self) -> None:
        refused = of("a\x07b/1.png")
        assert isinstance(refused, Refusal)
        assert refused.code == "bad_label"


class TestPatterns:
    def test_a_path_without_the_pattern_is_refused_with_it(self) -> None:
        refused = of("img/Im001.tif", label_pattern=r"_(?P<label>[01])\.")
        assert isinstance(refused, Refusal)
        assert refused.code == "no_label"
        assert "[01]" in refused.reason

    def test_an_image_whose_patient_is_unknown_is_refused(self) -> None:
        refused = of("fold_0/all/x.bmp", group_pattern="UID_([^_]+)_")
        assert isinstance(refused, Refusal)
        assert refused.code == "no_group"

    def test_further_named_groups_become_columns(self) -> None:
        found = of("fold_3/all/UID_5_1.bmp", group_pattern=r"fold_(?P<fold>\d)/[^/]+/UID_(?P<group>[^_]+)_")
        assert found == Labelled("all", "5", {"fold": "3"})

    @pytest.mark.parametrize("pattern", ["(", "(a)", "", "x" * 301 + "(?P<label>a)"])
    def test_useless_label_patterns_are_refused(self, pattern: str) -> None:
        if not pattern:
            assert of("a/1.png", label_pattern="") == Labelled("a")
            return
        with pytest.raises(InvalidInputError):
            compile_rule(LabelRule(label_pattern=pattern))

    @pytest.mark.parametrize("pattern", ["UID", "(a)(b)", "(?P<patient>a)"])
    def test_useless_group_patterns_are_refused(self, pattern: str) -> None:
        with pytest.raises(InvalidInputError):
            compile_rule(LabelRule(group_pattern=pattern))

    @pytest.mark.parametrize(
        "pattern",
        [
            "(a+)+b",
            "(a|a)*b",
            "(a*)*",
            "(?:.*,){11}P",
            "(x+x+)+y",
            ".*.*.*=.*",
            ".*_.*_[^!]+!",
            r"(a)\1",
            "(?=a)b",
            "(?i:x+)X",
            "[^_]+Ж[^_]+ü[^_]+Ж",
            "(?<!a)b",
        ],
    )
    def test_patterns_that_could_take_for_ever_are_refused_in_words(self, pattern: str) -> None:
        with pytest.raises(InvalidInputError, match="pattern"):
            compile_pattern(pattern, "label pattern")

    @pytest.mark.parametrize(
        "pattern",
        [
            r"fold_\d+/(?P<label>[^/]+)/UID_([^_]+)_(\d+)_(\d+)_[a-z]+\.bmp",
            r"(?i)_(?P<label>all|hem)\.",
            r".*/(?P<label>[a-z]{2,4})\d*_.*",
            r"^\w+/(?P<label>[A-Z]\w+)",
        ],
    )
    def test_patterns_that_people_write_are_taken(self, pattern: str) -> None:
        compile_pattern(pattern, "label pattern")

    @pytest.mark.parametrize("pattern", [r".*_.*_(?P<label>x)", r"a*(?P<label>[ab]+)$", r"^.*_.*_(?P<label>[^!]+)!"])
    def test_the_worst_pattern_taken_is_quick_on_the_worst_path(self, pattern: str) -> None:
        rule = compile_rule(LabelRule(label_pattern=pattern))
        start = time.process_time()
        for letter in "_ab":
            rule.of(letter * (MAX_PATH - 1) + "c")
        assert time.process_time() - start < 5

    def test_a_path_too_long_for_a_pattern_is_refused(self) -> None:
        refused = of("a/" + "b" * MAX_PATH, label_pattern="(?P<label>a)")
        assert isinstance(refused, Refusal)
        assert refused.code == "path_too_long"


class TestCsv:
    @pytest.mark.parametrize("delimiter", [",", ";", "\t"])
    @pytest.mark.parametrize(
        "header", [("File Name", "Class", "Patient_ID", "fold"), ("image", "label", "slide", "fold")]
    )
    def test_delimiters_boms_and_header_synonyms(self, delimiter: str, header: tuple[str, ...]) -> None:
        text = "\ufeff" + delimiter.join(header) + "\r\n" + delimiter.join(("1.png", "NEU", "P7", "2")) + "\r\n"
        assert of("any/1.png", labels_csv=text) == Labelled("NEU", "P7", {"fold": "2"})

    def test_names_are_matched_by_name_by_path_and_without_their_extension(self) -> None:
        text = "path,label\n1.png,a\nx/2.png,b\nroot/y/3.png,c\n004,d\n"
        rule = compile_rule(LabelRule(labels_csv=text))
        found = [rule.of(path) for path in ("deep/er/1.png", "set/x/2.png", "y/3.png", "z/004.png")]
        assert found == [Labelled("a"), Labelled("b"), Labelled("c"), Labelled("d")]

    def test_the_more_exact_entry_wins_and_another_folder_does_not_match(self) -> None:
        rule = compile_rule(LabelRule(labels_csv="file,label\n1.png,a\nx/1.png,b\ny/2.png,c\n"))
        assert rule.of("x/1.png") == Labelled("b")
        assert rule.of("z/1.png") == Labelled("a")
        assert isinstance(rule.of("z/2.png"), Refusal)

    def test_a_name_said_twice_with_different_labels_is_refused(self) -> None:
        refused = of("x/1.png", labels_csv="file,label\n1.png,a\n1.png,b\n")
        assert isinstance(refused, Refusal)
        assert refused.code == "ambiguous_name"

    def test_a_name_that_fits_two_files_is_refused_for_both(self) -> None:
        paths = ["x/1.png", "y/1.png", "y/2.png"]
        rule = compile_rule(LabelRule(labels_csv="file,label\n1.png,a\n2.png,b\n"), paths)
        codes = [found.code if isinstance(found, Refusal) else found.label for found in map(rule.of, paths)]
        assert codes == ["ambiguous_name", "ambiguous_name", "b"]

    def test_a_csv_of_patients_leaves_the_label_to_the_folder(self) -> None:
        assert of("hem/1.png", labels_csv="file,patient\n1.png,P1\n") == Labelled("hem", "P1")

    def test_a_file_that_the_csv_does_not_name_is_refused(self) -> None:
        refused = of("a/2.png", labels_csv="file,label\n1.png,a\n")
        assert isinstance(refused, Refusal)
        assert refused.code == "no_label"

    def test_quoted_cells_may_hold_the_delimiter(self) -> None:
        assert of("1.png", labels_csv='file,label\n1.png,"cell, large"\n') == Labelled("cell, large")

    @pytest.mark.parametrize(
        "text",
        ["", "a,b\n1,2\n", "file\n1.png\n", "file,label,x,x\n1,2,3,4\n", 'file,label\n"' + "x" * 200_000 + '",a\n'],
    )
    def test_a_csv_that_says_nothing_is_refused_in_words(self, text: str) -> None:
        with pytest.raises(InvalidInputError, match="CSV"):
            compile_rule(LabelRule(labels_csv=text))

    def test_two_sources_for_one_thing_are_refused(self) -> None:
        with pytest.raises(InvalidInputError, match="choose one"):
            compile_rule(LabelRule(labels_csv="file,label\na,b\n", label_pattern="(?P<label>a)"))
        with pytest.raises(InvalidInputError, match="choose one"):
            compile_rule(LabelRule(labels_csv="file,patient\na,b\n", group_pattern="(a)"))
