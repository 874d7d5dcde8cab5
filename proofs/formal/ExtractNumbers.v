(** * Value numbering as an OCaml program: [numbering.ml], read by [rows.ml]

    [ValueNumbering.equated] is about this very function.  Natural numbers become OCaml's own integers. *)

From Coq Require Import Extraction ExtrOcamlBasic ExtrOcamlNatInt.
From mathcomp Require Import all_ssreflect.
From Sipit Require Import ValueNumbering.

Definition numbers_of (rows : seq (row nat_eqType nat_eqType)) : seq nat := numbered rows.
Definition in_order (k : nat) (r : row nat_eqType nat_eqType) : bool := earlier k r.

(** Numbers are compared as OCaml's integers, not by counting. *)
Extract Constant eqn => "(fun (m : int) n -> m = n)".
Extract Constant leq => "(fun (m : int) n -> m <= n)".

Extraction Language OCaml.
Extraction "numbering.ml" numbers_of in_order.
