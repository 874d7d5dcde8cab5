(** * The checker as an OCaml program: [checker.ml], read by [main.ml]

    Integers become those of zarith, so that arithmetic is theirs and not proved; everything else is as it stands. *)

From Coq Require Import Extraction ExtrOcamlBasic ExtrOcamlZBigInt ZArith.
From Sipit Require Import Intervals Tensors Meaning Checker.

(** The greatest common divisor, which [Intervals.reduce] divides by, is zarith's too. *)
Extract Constant Z.gcd => "Big_int_Z.gcd_big_int".

Extraction Language OCaml.
Extraction "checker.ml" check.
