"""The command line: its verbs and the options of every verb.

A verb is a function of another module, imported when it is called or asked for its help: the list of verbs appears
without torch, numpy and pydantic. Its words for ``--help`` stand here.
"""

import logging
from typing import Annotated, NamedTuple

from cyclopts import App, Group, Parameter

import skdcgn
from skdcgn.base.home import from_home
from skdcgn.cli.help_page import ARGUMENTS, COMMON, OPTIONS, HelpPage
from skdcgn.cli.terminal import log_to_standard_error

PANELS = ("Whole experiments", "Stages", "Measuring", "Using a CGN elsewhere", "Help")
WHOLE, STAGES, MEASURING, ELSEWHERE, ABOUT = (Group(title, sort_key=index) for index, title in enumerate(PANELS))
SHELL = Group("Shell completion", sort_key=8)
USUAL = (*PANELS, *(str(group.name) for group in (ARGUMENTS, OPTIONS, COMMON)), "Kinds")

app = App(
    name="skdcgn",
    help="Distill a black-box Counterfactual Generative Network (CGN) into a tiny student, and train classifiers on "
    "its counterfactuals x = m * t + (1 - m) * b.",
    version=skdcgn.__version__,
    help_format="plaintext",
    help_formatter=HelpPage(USUAL),
    group_arguments=ARGUMENTS,
    group_parameters=OPTIONS,
    group_commands=COMMON,
    default_parameter=Parameter(negative_iterable=(), consume_multiple=False),
    suppress_keyboard_interrupt=False,
)
app.meta.suppress_keyboard_interrupt = False


class Words(NamedTuple):
    """A verb's panel in the list of verbs, its line there, and what its own help adds."""

    panel: Group
    line: str
    more: str = ""


VERBS = {
    "whole:run": Words(WHOLE, "Query, distill, compose, classify and evaluate: ends with a table and a report.",
        "A run that was interrupted continues by the same command."),
    "whole:study": Words(WHOLE, "Measure the points of a study over seeds: of losses, queries, sizes, distortions.",
        "The same command in another shell, or on another machine that sees the folder, takes a share of the work."),
    "whole:reproduce": Words(WHOLE, "Measure a table again; compare it with expected ranges and the paper."),
    "stages:teach": Words(STAGES, "Train a teacher CGN on biased pictures: digits, or your own.",
        "Presets of photographs need no data: BigGAN draws the pictures that the CGN learns to take apart."),
    "photographs:segment": Words(STAGES, "Write a mask of the object of each photograph, and a contact sheet."),
    "photographs:photos": Words(STAGES, "Make a CGN of your own photographs and their masks.",
        "Nothing is trained: noise picks a photograph, whose mask, object and background are the three mechanisms."),
    "stages:query": Words(STAGES, "Ask a teacher for pairs (noise, label, image) of each mechanism, within a budget."),
    "recording:record": Words(STAGES, "Make pairs of what somebody recorded of a black box: pictures, labels, noise.",
        "At the end it says whether the noise explains the pictures."),
    "stages:distill": Words(STAGES, "Distill the pairs of each mechanism into a tiny conditional generator."),
    "classifiers:classify": Words(STAGES, "Train a classifier on counterfactuals, whose shape is the class."),
    "classifiers:ensemble": Words(STAGES, "Train the invariant ensemble on photographs and counterfactuals.",
        "It has a head for shape, one for texture and one for background."),
    "curing:cure": Words(STAGES, "Cure a classifier: audit, fine-tune, audit again.",
        "It learns from real pictures and counterfactuals. Exit status: 1 if too much accuracy is lost, else 0."),
    "measuring:evaluate": Words(MEASURING, "Measure a classifier, a CGN or an ensemble, or show the table of a run.",
        "PATH is a folder, a CGN's file or a teacher's name. Without KIND, it is detected from PATH."),
    "auditing:audit": Words(MEASURING, "Measure which mechanism a classifier follows: shape, texture or background.",
        "MODEL may be your own. Exit status: 0 whatever the verdict; see --fail-above."),
    "photographs:challenge": Words(MEASURING, "Write a background challenge of your own photographs.",
        "It has the layout of ImageNet-9, with your classes: skdcgn evaluate ensemble reads it by --in9."),
    "measuring:bench": Words(MEASURING, "Time student and teacher: eager, channels-last, compiled, in ONNX Runtime.",
        "They are timed in turn in one process."),
    "taking:generate": Words(ELSEWHERE, "Write counterfactuals, or an interpolation between two classes."),
    "taking:export": Words(ELSEWHERE, "Write a CGN as one ONNX file that draws counterfactuals.",
        "Its inputs are noise and a label per mechanism, and crop offsets if pictures tile."),
    "serving:serve": Words(ELSEWHERE, "Answer queries over HTTP, until it is interrupted.",
        "Any CGN becomes a teacher for other machines: skdcgn query http://HOST:PORT. With SKDCGN_TOKEN set, it asks "
        "for that token."),
    "sharing:push": Words(ELSEWHERE, "Push a student and its card to the Hugging Face Hub.",
        "The token is that of the environment variable HF_TOKEN. Others load it by the name: any verb takes it."),
    "about:doctor": Words(ABOUT, "Show what is installed and available, and what to do about the rest.",
        "Exit status: 0 if nothing is broken, 1 otherwise. What is downloaded or passed when needed is not broken."),
    "about:config": Words(ABOUT, "Print the whole configuration of a preset as JSON, for --config.",
        "For example: skdcgn config smoke > mine.json, edit the file, skdcgn run smoke --config mine.json."),
}  # fmt: skip
for index, (place, words) in enumerate(VERBS.items()):
    app.command(
        f"skdcgn.cli.{place}",
        name=place.split(":")[1],
        group=words.panel,
        help=f"{words.line}\n\n{words.more}",
        sort_key=index,
    )


@app.command(name="--install-completion", group=SHELL)
def install_completion() -> None:
    """Let the shell complete verbs and options."""
    print(f"completion written to {app.install_completion()}: open a new shell")


@app.command(name="--show-completion", group=SHELL)
def show_completion() -> None:
    """Print what --install-completion writes."""
    print(app.generate_completion())


@app.meta.default
def launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    verbose: Annotated[
        bool,
        Parameter(
            name=("--verbose", "-v"), negative=(), show_default=False, group=COMMON, help="Log losses of the steps too."
        ),
    ] = False,
    quiet: Annotated[
        bool,
        Parameter(
            name=("--quiet", "-q"),
            negative=(),
            show_default=False,
            group=COMMON,
            help="Show only results and warnings.",
        ),
    ] = False,
    help_all: Annotated[
        bool, Parameter(name="--help-all", negative=(), show_default=False, group=COMMON, help="Show every option.")
    ] = False,
) -> int | None:
    """Run a verb with the options that every verb has."""
    tokens = tuple(map(from_home, tokens))
    log_to_standard_error(logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO)
    if help_all:
        app.help_formatter = HelpPage()
        tokens = (*tokens, "--help")
    elif tokens[:1] == ("evaluate",):
        from skdcgn.cli.measuring import name_kind

        tokens = name_kind(tokens)
    runner = app.meta if help_all else app
    status: int | None = runner(tokens, exit_on_error=False, print_error=False, result_action="return_value")
    return status
