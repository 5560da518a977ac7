"""Made-up data sets in the official layouts."""

from pathlib import Path

TREES = {
    "train.txt": [
        "(3 (2 It) (4 (2 's) (4 great)))",
        "(1 (2 (2 The) (2 plot)) (1 (1 (2 does) (1 n't)) (1 (2 work) (2 .))))",
        "(2 (2 (2 -LRB-) (2 (2 Part) (2 -RRB-))) (2 two))",
        "(0 (0 (0 dull) (2 ,)) (1 (2 very) (0 tiresome)))",
        "(4 (4 (4 warm) (2 and)) (4 funny))",
    ],
    "dev.txt": ["(4 (4 warm) (3 (2 ,) (4 funny)))", "(2 (2 A) (2 film))", "(0 (0 awful) (2 stuff))"],
    "test.txt": ["(1 (2 The) (1 (2 plot) (1 fails)))", "(3 (3 good) (2 fun))"],
}
PRAISE = "i love this {thing} , it 's good and it does n't break . number {number}"
BLAME = "awful {thing} ! it broke ( twice ) and i ca n't use it . number {number}"


def treebank(folder: Path) -> Path:
    """The trees above."""
    folder.mkdir(parents=True)
    for name, lines in TREES.items():
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def products(folder: Path, domains: tuple[str, ...] = ("books", "toys_games"), count: int = 20) -> Path:
    """`count` training reviews of each domain, 4 of its test, and 6 without a label: one a copy of a test review."""
    folder.mkdir(parents=True)
    for domain in domains:
        for part, numbers in (("train", range(count)), ("test", range(100, 104))):
            lines = [
                f"{number % 2}\t{(PRAISE if number % 2 else BLAME).format(thing=domain, number=number)}"
                for number in numbers
            ]
            (folder / f"{domain}.task.{part}").write_text("\n".join(lines) + "\n", encoding="utf-8")
        unlabelled = [f"My {domain} came late. I still like it, number {number}!" for number in range(5)]
        unlabelled.append(f"I love this {domain}, it's good and it doesn't break. Number 101 ")
        (folder / f"{domain}.task.unlabel").write_text("\n".join(unlabelled) + "\n", encoding="utf-8")
    return folder


def films(folder: Path, count: int = 20) -> Path:
    """`count` film reviews of each label in train, 4 in test, and 6 without a label."""
    texts = {"pos": "A lovely film, number {}.<br /><br />Go and see it!", "neg": "Two dull hours, number {}. Avoid."}
    for split, numbers in (("train", range(count)), ("test", range(100, 104))):
        for label, text in texts.items():
            (folder / split / label).mkdir(parents=True)
            for number in numbers:
                path = folder / split / label / f"{number}_{9 if label == 'pos' else 2}.txt"
                path.write_text(text.format(number), encoding="utf-8")
    (folder / "train" / "unsup").mkdir()
    for number in range(6):
        text = f"I saw it, number {number}. The plot fails!"
        (folder / "train" / "unsup" / f"{number}_0.txt").write_text(text, encoding="utf-8")
    return folder
