"""Which tests notice the mutants of a module, a file or one test of it: every module of the checker has some."""

PRICE = " ".join(  # the rest of it looks at other processes, which no mutant lives in
    f"test_price::test_{name}"
    for name in (
        "a_limit_can_be_raised_and_lowered",
        "the_limit_is_what_is_usual_for_a_kind",
        "every_kind_has_a_price",
        "what_is_not_well_formed_is_left_to_the_kernel",
    )
)
KERNEL = (
    "test_lemmas test_lemmas_of_rows test_lemmas_refused test_lemmas_grid test_forgeries test_checker "
    "test_negative_controls"
)
QUICK = {  # in the order in which they run, those that notice most first
    "proofs/kernel/regularity.py": (
        "test_forgeries test_claims test_checker test_kernel_edges test_graph_edges test_generic_position"
    ),
    "proofs/door.py": (
        f"test_forgeries {PRICE} test_kernel_edges test_graph_edges test_checker test_separation"
        " test_what_a_checker_is_told"
    ),
    "proofs/kernel/door.py": (
        "test_forgeries test_claims test_kernel_edges test_graph_edges test_checker test_separation"
        " test_what_a_checker_is_told"
    ),
    "proofs/kernel/lemmas/algebra.py": KERNEL,
    "proofs/kernel/lemmas/functions.py": KERNEL,
    "proofs/kernel/lemmas/rows.py": KERNEL,
    "proofs/kernel/lemmas/instance.py": KERNEL,
    "proofs/kernel/lemmas/table.py": KERNEL,
    "proofs/evidence.py": "test_evidence test_forgeries test_kernel_edges test_graph_edges",
    "proofs/kernel/separation.py": (
        "test_kernel_edges test_graph_edges test_forgeries test_separation test_what_a_checker_is_told"
    ),
    "proofs/kernel/vocabulary.py": "test_questions test_kernel_edges test_graph_edges test_vocabulary",
    "proofs/recomputed/price.py": f"test_price_of_kinds test_price_laws test_witness test_afford {PRICE}",
    **dict.fromkeys(
        (f"proofs/recomputed/{name}.py" for name in ("evaluating", "price_of_vocabulary", "price_of_weights", "reach")),
        f"test_price_of_weights test_price_of_kinds {PRICE}",
    ),
    "proofs/recomputed/witness.py": "test_published_points test_witness test_kernel_edges test_graph_edges",
    "proofs/recomputed/published_witness.py": "test_published_points test_witness test_kernel_edges test_graph_edges",
    "proofs/kernel/result.py": "test_claims test_forgeries test_kernel_edges test_graph_edges",
    "proofs/kernel/claim.py": "test_claims test_forgeries",
    "proofs/kernel/generic_position.py": "test_points_and_patterns test_claims test_generic_position test_two_blocks",
    "proofs/kernel/branches.py": (
        "test_branches test_forgeries test_claims test_analyticity test_kernel_edges test_graph_edges"
    ),
    "proofs/kernel/lengths.py": "test_forged_graphs test_kernel_edges test_graph_edges test_generic_position",
    "proofs/kernel/price.py": "test_price_laws test_price_of_kinds test_afford",
    "proofs/kernel/patterns.py": (
        "test_points_and_patterns test_patterns test_witness test_generic_position test_value_numbering"
        " test_numbered_constants"
    ),
    "proofs/kernel/collisions.py": (
        "test_points_and_patterns test_looked_at test_two_blocks test_kernel_edges test_graph_edges"
        " test_generic_position"
    ),
    "proofs/kernel/equal_pairs.py": "test_equal_rows test_separation test_kernel_edges test_graph_edges",
    "proofs/kernel/lines.py": "test_forgeries test_checker",
    "proofs/kernel/depth.py": "test_zeros_and_depth test_generic_position",
    "proofs/kernel/zeros.py": "test_zeros_and_depth test_widening test_generic_position",
    **dict.fromkeys(
        (f"proofs/recomputed/{name}.py" for name in ("gate", "loss", "settled", "training_step", "zero_state")),
        "test_gate test_gate_edges test_zero_state test_step_cross_checks test_step_claims test_training_step",
    ),
    "proofs/recomputed/optimizers.py": (
        "test_gate_edges test_zero_state test_step_claims test_training_step ../numerics/test_optimizer_steps"
    ),
    **dict.fromkeys(
        (
            f"proofs/kernel/value_numbering/{name}.py"
            for name in (
                "arithmetic",
                "axes",
                "mixtures",
                "moves",
                "number",
                "rules",
                "table",
                "values",
            )
        ),
        "test_numbers_apart test_numbers_of_widths test_numbered_gathers test_numbers_that_move test_value_numbering"
        " test_numbered_constants test_sums_to_one test_mixtures test_equal_numbers test_structural"
        " test_two_blocks::test_the_pair_is_shown_on_the_captured_network"
        " test_two_blocks::test_a_common_continuation_keeps_them_equal test_price::test_long_values_are_too_many"
        " test_price::test_no_more_numbers_are_looked_up_than_were_paid",
    ),
    "proofs/network/graph.py": "test_graph test_forgeries test_kernel_edges test_graph_edges test_checker",
    "proofs/kernel/wellformed.py": "test_kernel_edges test_graph_edges test_separation",
    "proofs/network/rational.py": "test_rationals test_forgeries",
}
