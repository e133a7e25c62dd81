"""The faults that are injected: where, what happens, what to do, and the test that does it.

`docs/faults.md` is made from this table: `make reference`.
"""

from __future__ import annotations

from dataclasses import dataclass

AGAIN = "run snakemake again"
NOTHING = "nothing"
DELETE = "delete the file that is named and run snakemake again"

KILL = "workflow/test_kill.py::test_a_job_killed_at_its_worst_moment_is_made_again"
LEFT = "workflow/test_kill.py::test_a_killed_snakemake_leaves_a_job_that_spoils_nothing"
FETCH = "data/corpus/test_fetch.py::test_"
RESUME = "training/test_resume.py::test_"
BAD = "workflow/test_bad_input.py::test_"
SLURM = "slurm/test_slurm.py::test_"
RERUN = "workflow/test_rerun.py::test_"
ENVIRONMENT = "workflow/test_environment.py::test_"
CONFIG = "config/test_experiment.py::test_"
HERE = "faults/test_faults.py::test_"
STAGES = (
    *("download", "quality", "overlap", "tokenizer", "sequences", "batch_size", "profile"),
    *("epoch", "report"),
)


@dataclass(frozen=True)
class Fault:
    """One fault at one stage."""

    stage: str
    fault: str
    outcome: str
    advice: str
    test: str
    """Where it is injected: the test's path below `tests/`."""


def _killed() -> list[Fault]:
    half = "no half-written file has its final name; the rerun gives the same results"
    job = "the job goes on alone; the next run waits for it, and the results are the same"
    return [
        *(
            Fault(
                s, "kill -9 of the job just before it names its output", half, AGAIN, f"{KILL}[{s}]"
            )
            for s in STAGES
        ),
        *(Fault(s, "kill -9 of Snakemake", job, AGAIN, f"{LEFT}[{s}]") for s in STAGES),
    ]


def _damaged() -> list[Fault]:
    refused = "one sentence that names the file, exit status 1; the rerun makes it again"
    files = {
        "quality": ("download", "quality"),
        "overlap": ("quality", "overlap"),
        "tokenizer": ("corpus", "tokenizer"),
        "sequences": ("tokenizer", "sequences"),
        "profile": ("tokens", "profile"),
        "epoch": ("tokens", "epoch"),
    }
    return [
        Fault(stage, f"{damage} of what it reads", refused, DELETE, f"{HERE}damage[{stage}-{key}]")
        for stage in files
        for key, damage in (("truncated", "truncation"), ("flipped", "a flipped bit"))
    ] + [
        Fault(
            stage,
            f"{damage} of a record that it reads",
            refused,
            DELETE,
            f"{HERE}damaged_record[{stage}-{key}]",
        )
        for stage in ("profile", "epoch", "report")
        for key, damage in (("truncated", "truncation"), ("flipped", "a changed digit"))
    ]


def _disk() -> list[Fault]:
    made = ("quality", "tokenizer", "sequences", "batch_size", "profile", "epoch", "report")
    whole = "one sentence with the system's reason, non-zero exit; nothing half-written is left"
    return [
        *(
            Fault(s, "full disk", whole, f"make room; {AGAIN}", f"{HERE}a_disk_that_is_full[{s}]")
            for s in made
        ),
        *(
            Fault(
                s,
                "read-only results",
                whole,
                f"make the folder writable; {AGAIN}",
                f"{HERE}results_that_cannot_be_written[{s}]",
            )
            for s in made
        ),
        *(
            Fault(
                s,
                "a folder stands where the output belongs",
                whole,
                f"move the folder away; {AGAIN}",
                f"{HERE}a_folder_in_the_place_of_the_output[{s}]",
            )
            for s in made
        ),
    ]


def _runs() -> list[Fault]:
    """Of whole runs and of the machine."""
    lost = "no job is lost; Snakemake asks again until it is answered"
    only = "only what was made otherwise runs again"
    limits = "memory/test_limits.py::test_"
    return [
        Fault(
            *("SLURM", "the controller is away while a job ends", lost, NOTHING),
            SLURM + "a_controller_that_is_away_while_the_job_ends_loses_no_job",
        ),
        Fault(
            *("SLURM", "squeue fails for half a minute", lost, NOTHING),
            SLURM + "squeue_that_fails_for_a_while_loses_no_job",
        ),
        Fault(
            *("batch_size", "`ulimit -v` grants less than the configured limit"),
            *(
                "what is granted is the limit; log and record say so",
                "raise the system's limit",
            ),
            limits + "a_search_under_ulimit_ends_at_what_the_system_grants",
        ),
        Fault(
            *("batch_size", "a container grants less than the configured limit"),
            *("what is granted is the limit; the job is not killed", "give the container more"),
            limits + "a_search_in_a_container_is_not_killed",
        ),
        Fault(
            *("batch_size", "the system refuses memory below the limit"),
            *("a warning says where, and which limit it was", "raise the system's limit"),
            limits + "memory_that_the_system_refuses_below_the_limit_is_logged",
        ),
        Fault(
            *("epoch", "SIGSTOP, a suspended job, a frozen container"),
            *("the pause is left out of the time and counts as an interruption", NOTHING),
            RESUME + "time_in_which_the_process_was_stopped_is_left_out",
        ),
        Fault(
            *("epoch", "a clock that was set back since its inputs were made"),
            *("the result is kept, and dated after its inputs", "set the clock"),
            RERUN + "a_clock_that_was_set_back_costs_no_finished_epoch",
        ),
        Fault(
            *("any", "results without `.snakemake`, such as a copy"),
            *("only the report is made again", AGAIN),
            RERUN + "without_snakemakes_own_notes_only_the_report_is_made_again",
        ),
        *(
            Fault(
                *("any", f"results without `.snakemake`, and another {what}", only, AGAIN),
                RERUN + f"other_settings_rerun_even_without_snakemakes_own_notes[{what}]",
            )
            for what in ("vocabulary", "width", "learning rate", "technique", "corpus", "title")
        ),
        Fault(
            *("batch_size", "a source file is edited while the job runs"),
            *("the record names the code that was loaded; the next run makes it again", AGAIN),
            RERUN + "a_source_file_edited_while_its_job_runs_reruns_it",
        ),
        Fault(
            *("report", "a source file is edited while the job runs"),
            *("one sentence that names the file, exit status 1", AGAIN),
            RERUN + "a_source_file_edited_while_the_tables_are_written_refuses_them",
        ),
        Fault(
            *("any", "a target behind `vramlab run --configfile FILE`"),
            *("taken for the target that it is", NOTHING),
            "workflow/test_command.py::test_a_target_behind_a_configuration_file_is_a_target",
        ),
        *(
            Fault(
                *("any", f"`snakemake --configfile {what}", "one sentence, exit status 1", advice),
                f"{ENVIRONMENT}what_is_given_with_configfile_is_looked_at_before_snakemake_reads_it"
                f"[checkout-{case}]",
            )
            for what, advice, case in (
                ("FILE` with a file that is missing", "correct the path", "missing"),
                ("FILE` with a file that is no YAML", "correct the file", "broken"),
                ("FILE TARGET`", "write the target first, or use `vramlab run`", "target"),
            )
        ),
        Fault(
            *("any", "`vramlab` with a configuration file that is missing"),
            *("one sentence, exit status 1", "correct the path"),
            "command/test_main.py::test_what_is_missing_is_one_sentence[arguments0-none.yaml: "
            "cannot be read (No such file]",
        ),
        Fault(
            *("any", "a target that there is not"),
            *("one sentence with the nearest target, exit status 1", "correct the name"),
            "workflow/test_command.py::test_a_target_that_there_is_not[name]",
        ),
        Fault(
            *(
                "any",
                "`vramlab check` of a configuration without a section, or with a wrong one",
            ),
            *("named; the other sections are looked at all the same", "correct the section"),
            "check/test_check.py::test_no_section_that_is_wrong_hides_the_others"
            "[misspelled-techniques]",
        ),
        Fault(
            *("any", "`vramlab check` of a model whose code ends the process"),
            *("one sentence, exit status 1", "correct the code"),
            "check/test_check.py::test_code_that_ends_the_process",
        ),
        Fault(
            *("any", "`vramlab check` where servers are silent, or gone"),
            *("one warning after a second at most", "see whether the download works"),
            "check/test_check.py::test_a_server_that_does_not_answer_is_not_waited_for",
        ),
        Fault(
            *("any", "`report.compare` names no results, in `vramlab check`"),
            *("one sentence for each folder, exit status 1", "correct `report.compare`"),
            "check/test_check.py::test_an_earlier_run_that_is_not_there",
        ),
        Fault(
            *("any", "a model folder that is missing"),
            *("one sentence before any job, of a dry run too", "correct `model.path`"),
            "workflow/test_command.py::test_a_model_folder_that_is_not_there_is_said_by_a_dry_run",
        ),
        Fault(
            *("any", "a model of another source on the command line"),
            *("replaces that of the file", NOTHING),
            "workflow/test_command.py::test_a_model_of_another_source_replaces_the_default_one",
        ),
        Fault(
            *("any", "kill -9 and Ctrl-C at random moments of whole runs"),
            *("the last run ends with the results of one that was not disturbed", AGAIN),
            "workflow/test_kill.py::test_whole_runs_killed_at_random_end_as_one_that_was_not",
        ),
        *(
            Fault(
                *(
                    "any",
                    f"the workflow as a part of another: {how}",
                    "all jobs are planned",
                    NOTHING,
                ),
                f"workflow/test_module.py::test_another_workflow_plans_all_jobs[{how}]",
            )
            for how in ("module", "prefix", "include")
        ),
    ]


def _tokenizer_files() -> list[Fault]:
    """Of a tokenizer.json that the configuration names."""
    says, loads = "config/test_tokenizer_file.py::test_", "data/test_file_tokenizer.py::test_"
    early = "one sentence that names the file, before any job"
    late = "one sentence that names the file, exit status 1"
    other, eos = "give another tokenizer.json", "set `tokenizer.eos`"
    bad = f"{says}a_file_that_is_no_tokenizer"
    faults = (
        ("missing", early, "correct `tokenizer.path`", f"{says}a_missing_file"),
        ("a folder", early, "name the file in it", f"{says}a_folder"),
        ("no JSON", early, other, f"{bad}[-is no JSON]"),
        (
            "JSON that is no tokenizer",
            early,
            other,
            f"{bad}[{{}}-is no tokenizer of the package tokenizers]",
        ),
        ("without an end-of-text token", early, eos, f"{says}a_tokenizer_without_an_end_of_text"),
        (
            "without the token that `eos` names",
            early,
            eos,
            f"{says}a_token_that_it_does_not_have[eos]",
        ),
        (
            "beside a tokenizer_config.json that names another token",
            *(early, eos, f"{says}a_file_beside_it_that_names_a_token_it_does_not_have"),
        ),
        ("an id of 2**31 or more", early, other, f"{says}an_id_that_no_stream_holds"),
        (
            "of a kind that the package does not read",
            *(late, other, f"{loads}what_the_package_does_not_read_is_refused"),
        ),
        (
            "ids that the package gives otherwise",
            *(
                late,
                "save it anew",
                f"{loads}ids_that_the_package_gives_otherwise_are_refused[far]",
            ),
        ),
        (
            "the package tokenizers is not installed",
            *(late, "install it", f"{loads}without_the_package_one_sentence_says_what_to_install"),
        ),
        (
            "no token for the unknown",
            late,
            "take another tokenizer",
            f"{loads}a_model_without_an_unknown_token_refuses_what_it_does_not_know",
        ),
        (
            "truncation, padding, or a template of special tokens",
            *("left out: documents are tokenised in full", NOTHING),
            f"{loads}it_gives_the_ids_of_the_package_and_the_end_of_the_document[WordPiece]",
        ),
        (
            "the text of a special token in a document",
            *("tokenised as text", NOTHING),
            f"{loads}special_tokens_never_come_out_of_a_text[Unigram]",
        ),
    )
    return [Fault("tokenizer", f"its file: {what}", *rest) for what, *rest in faults]


def _texts() -> list[Fault]:
    """Of the texts and files of a corpus."""
    local, split = "data/corpus/test_local.py::test_", "data/corpus/test_selection.py::test_"
    tokenizer = "data/test_sentencepiece_tokenizer.py::test_"
    normal = "data/test_normalisation.py::test_"
    assess = "stages/test_assess_tokenizer.py::test_"
    one, found = "one sentence, no output", "the rest is read; the log names what is left out"
    return [
        *(
            Fault(
                *("tokenizer", f"a line without a space: {name}"),
                *("cut for the training, and counted; the vocabulary stays as good", NOTHING),
                f"{tokenizer}a_long_line_without_spaces_leaves_the_vocabulary_as_good[{name}]",
            )
            for name in ("hex", "Chinese", "one character", "data URI")
        ),
        Fault(
            *("tokenizer", "a line of 20 MB"),
            *("cut for the training, and counted", NOTHING),
            tokenizer + "a_line_of_20_megabytes_is_cut_as_any_other",
        ),
        Fault(
            *("tokenizer", "texts whose normal form is 100,000 accents, or 18 times as long"),
            *("the time grows with their length only", NOTHING),
            normal + "many_marks_and_ligatures_take_time_by_their_length_only",
        ),
        Fault(
            *("tokenizer", "no line has a character"),
            *(one, "give another training corpus"),
            tokenizer + "texts_without_a_character_are_no_training_corpus[\\u2585]",
        ),
        Fault(
            *("tokenizer", "`training_lines` of 100 or fewer"),
            *("refused when the configuration is read", "raise it"),
            tokenizer + "fewer_lines_than_sentencepiece_draws_from_are_refused",
        ),
        Fault(
            *("tokenizer", "a validation corpus in another script"),
            *("the log and the report warn, with the share", "give a corpus in that script"),
            assess + "a_validation_corpus_in_another_script_is_warned_of",
        ),
        Fault(
            *("quality", "documents of which the normal form leaves nothing"),
            *("dropped as empty, and counted", NOTHING),
            "data/corpus/test_quality.py::test_counts_the_reasons",
        ),
        Fault(
            *("quality", "a split of texts that are repeated"),
            *("copies stay together; the share is kept, or the log warns", "remove the copies"),
            split + "a_split_keeps_its_share_where_texts_are_repeated_or_warns[repeats2-50-True]",
        ),
        *(
            Fault(
                *("local", f"`quality` names no key of the {ending} files"),
                *("one sentence with the nearest key, no output", "correct `quality`"),
                f"{local}a_quality_that_no_document_has[meta.qualty-did you mean "
                f"'meta.quality'-{ending}]",
            )
            for ending in (".jsonl", ".parquet")
        ),
        Fault(
            *("local", "labels in JSON within a string, or in a map"),
            *("read as any other", NOTHING),
            local + "labels_in_json_and_in_maps[.parquet]",
        ),
        Fault(
            *("local", "a file in another encoding than `encoding` says"),
            *("one sentence with the byte and the key, no output", "set `encoding`"),
            local + "an_undecodable_file_is_named_with_the_place_and_the_key[cp1250]",
        ),
        Fault(
            *("sequences", "a training corpus of less than one sequence"),
            *("one sentence, no output", "give more text"),
            "stages/test_sequences.py::test_a_training_corpus_of_less_than_a_sequence_is_refused",
        ),
        Fault(
            *("quality", "a split that leaves one document"),
            *("the log and the report warn", "add documents"),
            split + "a_split_that_leaves_one_document_is_said[20-0.05-1]",
        ),
        Fault(
            *("tokenizer", "a vocabulary beyond what the corpus supports"),
            *("the log and the report warn", "take a smaller one"),
            assess + "a_vocabulary_beyond_what_the_corpus_supports_is_warned_of[texts0-True]",
        ),
        Fault(
            *("tokenizer", "a vocabulary far from the model's own"),
            *("the log and the report warn", "take the model's own tokenizer"),
            f"{assess}a_vocabulary_far_from_the_models_is_warned_of[5-True-the embeddings of all "
            "others take memory and are never trained]",
        ),
        Fault(
            *("local", "a null text"),
            *("an empty text in all formats", NOTHING),
            local + "one_rule_for_null_in_all_formats",
        ),
        Fault(
            *("local", "the column of the text is a list"),
            *(one, "name another column as `text`"),
            f"{local}a_column_that_is_no_text[columns0-text-the column 'text' is a list, not a "
            "text]",
        ),
        Fault(
            *("local", "two columns of one name"),
            *(one, "rename one"),
            local + "two_columns_of_one_name",
        ),
        Fault(
            *("local", "a string of Parquet that is not UTF-8"),
            *("one sentence with the row, no output", "convert it"),
            local + "a_string_of_parquet_that_is_no_utf8",
        ),
        Fault(
            *("local", "damaged bytes anywhere in a Parquet file"),
            *("one sentence, or the documents", "fetch the file again"),
            local + "any_damage_to_a_parquet_file_ends_in_a_sentence",
        ),
        *(
            Fault(
                *("local", f"no document: {what}"),
                *(one, "give a corpus that has one"),
                f"{local}an_empty_corpus[{name}]",
            )
            for name, what in (
                ("a.jsonl", "a file of 0 bytes"),
                ("d.jsonl.zst", "a zstd file of empty frames"),
                ("e.jsonl.zst", "a zstd file of skippable frames"),
                ("f.parquet", "a Parquet file of 0 rows"),
            )
        ),
        Fault(
            *("local", "empty files among others"),
            *("read as having no document", NOTHING),
            local + "empty_parts_of_a_corpus_are_no_fault",
        ),
        Fault(
            *("local", "a zstd file with a window over 128 MiB"),
            *("one sentence with the command that recompresses it", "recompress it"),
            local + "a_file_of_the_user_is_never_to_be_deleted[long window]",
        ),
        Fault(
            *("local", "files of other endings, links to folders, pipes"),
            *(found, "convert them"),
            local + "endings_of_any_case_and_files_that_are_left_out",
        ),
        *(
            Fault(
                *("local", f"`path` is a folder that holds `{name}`"),
                *("never read as corpus", NOTHING),
                f"{local}what_the_pipeline_makes_is_never_corpus[{name}]",
            )
            for name in ("results", ".snakemake", ".venv")
        ),
        Fault(
            *("local", "a folder in it that cannot be read"),
            *(one, "make it readable, or move it away"),
            local + "a_folder_that_cannot_be_read_is_not_left_out",
        ),
        Fault(
            *("local", "links that lead to themselves or nowhere"),
            *(one, "remove the link"),
            local + "loops_of_links",
        ),
        Fault(
            *("local", "a file is edited while it is read"),
            *(one, f"wait for the other program; {AGAIN}"),
            local + "a_file_that_changes_while_it_is_read[.jsonl-after the first]",
        ),
        Fault(
            *("local", "names of any bytes"),
            *("read, or one sentence where they are no text", "rename the file"),
            local + "names_of_any_bytes",
        ),
    ]


FAULTS: tuple[Fault, ...] = (
    *_killed(),
    *_damaged(),
    *_disk(),
    Fault(
        *("any", "Snakemake was killed and has left its lock"),
        *("the next run says so and names --unlock", "run it once with --unlock"),
        "workflow/test_kill.py::test_after_a_killed_snakemake_the_next_one_says_what_to_do[download]",
    ),
    Fault(
        *("download", "the server answers 503, then properly"),
        *("tried again with growing pauses; the download succeeds", NOTHING),
        FETCH + "recovers_from_server_errors[.jsonl.zst]",
    ),
    Fault(
        *("download", "the server keeps answering 503"),
        *("six attempts, then one sentence with the address and the status", AGAIN),
        FETCH + "an_error_that_stays[503-6-.jsonl.zst]",
    ),
    Fault(
        *("download", "the connection is dropped"),
        *("resumed by range from the byte that was reached", NOTHING),
        FETCH + "resumes_a_dropped_connection",
    ),
    Fault(
        *("download", "the connection is dropped, and the server knows no ranges"),
        *("begun anew", NOTHING),
        FETCH + "starts_anew_where_the_server_knows_no_ranges",
    ),
    Fault(
        *("download", "the server sends another range than asked for"),
        *("refused; the bytes are not mixed in", AGAIN),
        FETCH + "a_server_that_sends_another_range",
    ),
    Fault(
        *("download", "the server keeps cutting the file short"),
        *("one sentence with the bytes expected and received", AGAIN),
        FETCH + "a_server_that_keeps_truncating[True-True]",
    ),
    Fault(
        *("download", "the server sends a byte now and then"),
        *("given up after the time allowed, in one sentence", AGAIN),
        FETCH + "a_trickle_comes_to_an_end",
    ),
    *(
        Fault(
            *("download", f"the server sends a byte now and then, {where}"),
            *("given up after a minute each time, in one sentence", AGAIN),
            FETCH + f"a_server_that_sends_a_byte_now_and_then[{key}]",
        )
        for key, where in (
            ("status", "in the first line of its answer"),
            ("header", "in a header"),
            ("body", "in the file, the list or the manifest"),
            ("chunk", "in the size of a chunk"),
            ("error", "in the text of an error"),
        )
    ),
    Fault(
        *("download", "the file is replaced on the server between two runs, the manifest is not"),
        *("begun anew; parts of two versions are never mixed", NOTHING),
        FETCH + "a_file_replaced_between_two_runs_is_not_mixed[0.5-True-True]",
    ),
    Fault(
        *("download", "nothing tells the versions of the file apart (neither ETag nor date)"),
        *("begun anew after each interruption", NOTHING),
        FETCH + "nothing_is_added_to_a_part_of_an_unknown_version",
    ),
    Fault(
        *("download", "a part without a range that can be read"),
        *("refused in one sentence", "report it to the server's owner"),
        FETCH + "a_part_that_does_not_say_which_one[bytes x]",
    ),
    Fault(
        *("download", "a redirection to no address"),
        *("refused in one sentence", "check `base`"),
        FETCH + "a_redirection_that_leads_nowhere[speakleash.json-http://[::1]",
    ),
    Fault(
        *("download", "escape codes in the server's answer"),
        *("shown as text", NOTHING),
        FETCH + "codes_in_the_servers_reason_are_not_obeyed",
    ),
    Fault(
        *("download", "a password in `base`"),
        *("used, and neither shown nor kept", NOTHING),
        FETCH + "a_password_in_the_base_is_used_and_never_shown",
    ),
    Fault(
        *("download", "a bit flipped in a synthetic corpus"),
        *("refused in one sentence", DELETE),
        FETCH + "any_flipped_bit_of_a_corpus_that_was_made_here_is_noticed[.jsonl.zst]",
    ),
    Fault(
        *("any", "a record with NaN, or a number beyond float64"),
        *("refused in one sentence", DELETE),
        "results/test_base.py::test_a_number_that_is_none_is_refused[NaN]",
    ),
    Fault(
        *("any", "a record with a number that nothing can have"),
        *("refused in one sentence", DELETE),
        "results/test_base.py::test_a_number_that_nothing_can_have_is_refused[tokens--1]",
    ),
    Fault(
        *("any", "a record whose checksum was removed"),
        *("refused in one sentence", DELETE),
        "results/test_base.py::test_a_record_without_its_checksum_is_refused[11]",
    ),
    Fault(
        *("any", "the record of another corpus in the place of this one"),
        *("refused in one sentence that names the other", DELETE),
        "results/test_base.py::test_the_record_of_the_other_corpus_is_refused",
    ),
    Fault(
        *("any", "a link of another user in the place of a lock"),
        *("not followed", NOTHING),
        "base/test_private.py::test_nothing_is_written_through_a_link",
    ),
    Fault(
        *("any", "the folder for locks is another user's"),
        *("not used; one sentence", "set HOME or TMPDIR"),
        "base/test_private.py::test_a_link_or_another_users_folder_is_not_used",
    ),
    Fault(
        *("any", "a home that cannot be written"),
        *("locks are below the temporary folder", NOTHING),
        "base/test_private.py::test_a_home_that_cannot_be_written_gives_way",
    ),
    Fault(
        *("any", "a temporary folder that is missing"),
        *("done without it", NOTHING),
        ENVIRONMENT + "a_temporary_folder_that_cannot_be_used_is_not_needed[missing]",
    ),
    Fault(
        *("any", "`ulimit -f` is less than an output"),
        *("one sentence, no half-written file", "raise the limit"),
        ENVIRONMENT + "a_limit_on_the_size_of_files_is_one_sentence",
    ),
    Fault(
        *("download", "a password in the address of a server"),
        *("used, and kept in no log, record or note of Snakemake's", NOTHING),
        ENVIRONMENT + "a_password_reaches_the_server_and_no_file",
    ),
    *(
        Fault(
            *("any", f"config/config.yaml {what}"),
            *("refused in one sentence", "correct the file"),
            ENVIRONMENT + f"the_configuration_of_the_checkout_is_read_with_care[{case}]",
        )
        for what, case in (
            ("is not in UTF-8", "not UTF-8"),
            ("is nested 20,000 deep", "deep"),
            ("is a folder", "folder"),
        )
    ),
    Fault(
        *("local", "a pattern of files with many `**/`"),
        *("matched at once, or refused in one sentence", "use `*`, which takes slashes too"),
        "data/corpus/test_local.py::test_a_pattern_with_many_folders_is_matched_at_once_or_refused",
    ),
    Fault(
        *("epoch", "a batch larger than the training corpus"),
        *("a step takes the whole corpus; the log warns", "give more text"),
        f"{HERE}a_batch_beyond_the_corpus",
    ),
    Fault(
        *("batch_size", "a memory limit beyond the memory of the card"),
        *("what is free is the limit; the log warns", "lower `memory_limit_gib`"),
        "memory/test_meter.py::test_a_limit_beyond_the_card_is_lowered_and_said_once[200-77.5-1]",
    ),
    Fault(
        *("batch_size", "a headroom as large as the memory limit"),
        *("refused in one sentence", "make `measure.headroom` smaller"),
        CONFIG + "a_headroom_is_one_size_below_the_limit[the whole limit]",
    ),
    Fault(
        *("batch_speed", "memory runs out at a batch that fitted in the search"),
        *("that batch has no speed; the others are measured", NOTHING),
        "measure/test_batch_speed.py::"
        "test_a_size_that_runs_out_of_memory_has_no_times_and_is_not_tried_again",
    ),
    Fault(
        *("any", "any text as the configuration"),
        *("read, or refused in one sentence", "correct the file"),
        "config/test_any_configuration.py::test_any_text_as_a_file",
    ),
    Fault(
        *("any", "a date or number in the configuration that is none"),
        *("refused in one sentence", "correct it"),
        CONFIG + "a_hostile_file_ends_in_one_sentence[no date]",
    ),
    Fault(
        *("report", "a batch larger than the training corpus"),
        *("the report says which techniques, and what follows", "give more text"),
        "report/test_discussion.py::test_a_batch_larger_than_the_corpus_is_said",
    ),
    Fault(
        *("any", "a configuration that stands for billions of values"),
        *("refused in one sentence", "write it without aliases"),
        CONFIG + "a_hostile_file_ends_in_one_sentence[billion laughs]",
    ),
    Fault(
        *("any", "a configuration that contains itself"),
        *("refused in one sentence", "write it without aliases"),
        CONFIG + "a_hostile_file_ends_in_one_sentence[itself in a list]",
    ),
    Fault(
        *("local", "braces in the name of a file or folder"),
        *("read as any other, and watched for changes", NOTHING),
        "workflow/test_braces.py::test_files_with_braces_are_read_and_watched",
    ),
    Fault(
        *("report", "braces in the title, or in the name of an earlier run"),
        *("taken as they are", NOTHING),
        "workflow/test_braces.py::test_a_title_and_an_earlier_run_with_braces",
    ),
    Fault(
        *("download", "the file is longer than its manifest says"),
        *("refused in one sentence", "ask the publisher, or pin another version"),
        FETCH + "a_file_longer_than_its_manifest",
    ),
    Fault(
        *("download", "the file changed on the server between two attempts"),
        *("begun anew; parts of two versions are never mixed", NOTHING),
        FETCH + "parts_of_another_version_are_not_mixed_in",
    ),
    Fault(
        *("download", "a web page instead of the list of data sets"),
        *("refused in one sentence", "correct `base`"),
        FETCH + "descriptions_that_are_none[speakleash.json-<html>-Invalid JSON]",
    ),
    Fault(
        *("download", "wrong SHA-256"),
        *("refused; both checksums are named", "correct `sha256`, or remove it"),
        FETCH + "wrong_sha256",
    ),
    Fault(
        *("download", "the server cannot be reached"),
        *("one sentence with the address", "check `base` and the network"),
        FETCH + "bases_that_lead_nowhere[http://127.0.0.1:1-cannot be reached]",
    ),
    Fault(
        *("download", "a link out of the folder of a local mirror"),
        *("refused", "copy the file into the folder"),
        FETCH + "a_link_out_of_the_folder[.jsonl.zst]",
    ),
    Fault(
        *("quality", "a corrupt archive whose size is right"),
        *("one sentence, no output", "download it again"),
        BAD + "a_corrupt_archive",
    ),
    Fault(
        *("quality", "a bit flipped anywhere in the fetched file, even where it decodes"),
        *("one sentence with both checksums, no output", DELETE),
        FETCH + "any_flipped_bit_of_a_fetched_file_is_noticed",
    ),
    Fault(
        *("quality", "the record of the download is damaged"),
        *("one sentence that names the record, no output", DELETE),
        FETCH + "a_damaged_record_of_a_fetched_file[{]",
    ),
    Fault(
        *("quality", "a folder stands where the fetched file belongs"),
        *("one sentence that names it, no output", f"move the folder away; {AGAIN}"),
        FETCH + "a_fetched_file_that_is_none[folder-Is a directory); move the folder away-1]",
    ),
    Fault(
        *("quality", "a line that is no JSON"),
        *("one sentence with the number of the line, no output", "correct the line"),
        BAD + "a_bad_json_line",
    ),
    Fault(
        *("epoch", "SIGTERM"),
        *("the step is finished and saved; the rerun goes on, bit for bit", AGAIN),
        RESUME + "a_signal_saves_and_the_rest_is_bit_equal[10-15]",
    ),
    Fault(
        *("epoch", "SIGUSR1, as SLURM sends before the time limit"),
        *("the step is finished and saved; the rerun goes on, bit for bit", AGAIN),
        RESUME + "a_signal_saves_and_the_rest_is_bit_equal[10-10]",
    ),
    Fault(
        *("epoch", "kill -9 in the middle of an epoch"),
        *("the rerun goes on from the last periodic checkpoint, bit for bit", AGAIN),
        RESUME + "a_killed_run_goes_on_from_its_last_periodic_checkpoint",
    ),
    Fault(
        *("epoch", "stopped again and again before its next checkpoint"),
        *("each interruption is counted; the result is the same, bit for bit", AGAIN),
        RESUME + "each_interruption_counts_though_no_checkpoint_is_written_between",
    ),
    Fault(
        *("epoch", "the count of its interruptions is damaged"),
        *("the count of the checkpoint is used, and the log says so", NOTHING),
        RESUME + "a_damaged_count_gives_way_to_that_of_the_checkpoint[{]",
    ),
    Fault(
        *("epoch", "the newest checkpoint is damaged"),
        *("the one before is used", NOTHING),
        RESUME + "a_damaged_checkpoint_gives_way_to_the_previous_one",
    ),
    Fault(
        *("epoch", "both checkpoints are damaged"),
        *("the run begins anew, and says so", NOTHING),
        RESUME + "two_damaged_checkpoints_start_the_run_anew",
    ),
    Fault(
        *("epoch", "a checkpoint of another run, code or data"),
        *("is not used", NOTHING),
        RESUME + "a_checkpoint_of_another_run_is_not_used",
    ),
    Fault(
        *("epoch", "a checkpoint that holds code"),
        *("is not run: only tensors and plain values are read", NOTHING),
        RESUME + "a_checkpoint_never_runs_code",
    ),
    Fault(
        *("epoch", "the loss becomes NaN"),
        *("recorded as diverged with the step; the other runs go on", "lower the learning rate"),
        RESUME + "a_loss_that_is_no_number_ends_the_run",
    ),
    Fault(
        *("epoch", "memory in pieces that are too small"),
        *("the step is retried with the same random numbers; the report says so", NOTHING),
        "training/test_step.py::test_a_step_out_of_memory_is_retried_and_computes_the_same",
    ),
    Fault(
        *("epoch", "out of memory in the middle"),
        *("recorded as out of memory with the reason; the other runs go on", "see the report"),
        HERE + "memory_that_runs_out_in_the_middle_of_an_epoch",
    ),
    Fault(
        *("profile", "out of memory"),
        *("recorded as out of memory with the reason; the other runs go on", "see the report"),
        HERE + "memory_that_runs_out_in_a_profile",
    ),
    *(
        Fault(
            *(stage, "the forward pass of the user's model fails"),
            *("one sentence that says where, exit status 1", "correct the model"),
            f"{HERE}a_model_that_fails[{stage}]",
        )
        for stage in ("batch_size", "profile", "epoch")
    ),
    Fault(
        *("batch_size", "sequences longer than the positions of the user's model"),
        *("one sentence with the most tokens, exit status 1", "shorten them"),
        "model/test_positions.py::test_longer_sequences_are_refused_in_a_sentence",
    ),
    Fault(
        *("any", "an error in vramlab's own code"),
        *("its type and text, and the whole traceback; exit status 2", "report it"),
        HERE + "an_error_in_vramlab_is_to_be_reported",
    ),
    Fault(
        *("batch_size", "not even one sequence fits"),
        *("recorded with what to change; the report says it", "raise the limit"),
        BAD + "a_cap_under_one_sequence_is_a_result_with_its_reason",
    ),
    Fault(
        *("any", "two runs in one folder want the same result"),
        *("the second waits, and names the process that it waits for", NOTHING),
        "stages/test_job_lock.py::test_the_second_waits_until_the_first_is_gone",
    ),
    Fault(
        *("any", "two jobs want one GPU"),
        *("they take turns; a job that dies leaves no lock", NOTHING),
        "stages/test_gpu_lock.py::test_the_next_one_waits_until_the_first_is_gone",
    ),
    Fault(
        *("any", "the lock of a process that is gone"),
        *("it ended with the process: no wait", NOTHING),
        HERE + "a_stale_lock_is_no_obstacle",
    ),
    Fault(
        *("any", "files from the future, as after a clock that was set back"),
        *("at most that stage runs again, to the same bytes", NOTHING),
        HERE + "a_clock_that_jumps[future]",
    ),
    Fault(
        *("any", "files from long ago, as after a clock that was wrong"),
        *("at most that stage runs again, to the same bytes", NOTHING),
        HERE + "a_clock_that_jumps[past]",
    ),
    Fault(
        *("any", "temporary files of a killed process"),
        *("removed by the next run of the job", NOTHING),
        "base/test_files.py::test_leftovers_of_a_killed_process_are_removed_and_nothing_else",
    ),
    Fault(
        *("SLURM job", "killed for its memory"),
        *("submitted again with more", NOTHING),
        SLURM + "a_job_killed_for_its_memory_is_submitted_again_with_more",
    ),
    Fault(
        *("SLURM job", "requeued, then preempted"),
        *("the epoch goes on bit for bit", NOTHING),
        SLURM + "an_epoch_requeued_and_then_preempted_goes_on_bit_for_bit",
    ),
    Fault(
        *("SLURM job", "cancelled from outside"),
        *("submitted again", NOTHING),
        SLURM + "a_job_cancelled_from_outside_is_submitted_again",
    ),
    Fault(
        *("SLURM job", "its time limit"),
        *("the epoch saves itself and goes on in a new job", NOTHING),
        SLURM + "an_epoch_at_its_time_limit_saves_itself_and_goes_on_in_a_new_job",
    ),
    Fault(
        *("SLURM", "Snakemake is interrupted"),
        *("no job is left; the next run goes on", AGAIN),
        SLURM + "interrupting_snakemake_leaves_no_job_and_the_next_run_goes_on",
    ),
    *_runs(),
    *_texts(),
    *_tokenizer_files(),
)
