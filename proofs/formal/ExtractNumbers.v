(** * Value numbering as an OCaml program: [numbering.ml], read by [rows.ml]

    [ValueNumbering.equated] is about this very function, with operations, weights and bases that are numbers.  Natural numbers
    become OCaml's own integers. *)

From Coq Require Import Extraction ExtrOcamlBasic ExtrOcamlNatInt.
From mathcomp Require Import all_ssreflect.
From Sipit Require Import ValueNumbering.

Definition numbers_of (rows : seq (row nat_eqType nat_eqType nat_eqType)) : seq nat := numbered id rows.
Definition in_order (k : nat) (r : row nat_eqType nat_eqType nat_eqType) : bool := earlier k r.

(** Numbers are compared and divided as OCaml's integers, not by counting. *)
Extract Constant eqn => "(fun (m : int) n -> m = n)".
Extract Constant leq => "(fun (m : int) n -> m <= n)".
Extract Constant odd => "(fun n -> n land 1 = 1)".
Extract Constant divn => "(fun m n -> if n = 0 then 0 else m / n)".
Extract Constant modn => "(fun m n -> if n = 0 then m else m mod n)".

Extraction Language OCaml.
Extraction "numbering.ml" numbers_of in_order.
