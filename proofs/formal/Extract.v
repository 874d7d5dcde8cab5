(** * The checker as an OCaml program: [checker.ml], read by [main.ml]

    Integers become those of zarith and of OCaml, so that their arithmetic is trusted; everything else is as it is proved. *)

From Coq Require Import Extraction ExtrOcamlBasic ExtrOcamlZBigInt ZArith NArith.
From Sipit Require Import Intervals Tensors Meaning Checker Classes.

(** Sizes and places become OCaml's own integers: they are below 2^62, as the reader refuses more than 2^45 entries, slices
    that end beyond as many, and more than 2^16 arguments of a node. *)
Extract Inductive N => "int" [ "0" "Big_int_Z.int_of_big_int" ]
  "(fun f0 fp n -> if n = 0 then f0 () else fp (Big_int_Z.big_int_of_int n))".
Extract Constant N.succ => "(fun n -> n + 1)".
Extract Constant N.add => "(+)".
Extract Constant N.sub => "(fun m n -> if m < n then 0 else m - n)".
Extract Constant N.mul => "( * )".
Extract Constant N.max => "(fun (m : int) n -> if m < n then n else m)".
Extract Constant N.div => "(fun m n -> if n = 0 then 0 else m / n)".
Extract Constant N.div_eucl => "(fun m n -> if n = 0 then (0, m) else (m / n, m mod n))".
Extract Constant N.modulo => "(fun m n -> if n = 0 then m else m mod n)".
Extract Constant N.compare => "(fun (m : int) n -> if m < n then Lt else if m = n then Eq else Gt)".
Extract Constant N.eqb => "(fun (m : int) n -> m = n)".
Extract Constant N.ltb => "(fun (m : int) n -> m < n)".
Extract Constant N.leb => "(fun (m : int) n -> m <= n)".
Extract Constant N.eq_dec => "(fun (m : int) n -> m = n)".
Extract Constant N.succ_pos => "(fun n -> Big_int_Z.big_int_of_int (n + 1))".
Extract Constant Z.of_N => "Big_int_Z.big_int_of_int".

(** The greatest common divisor, which [Intervals.reduce] divides by, is zarith's too. *)
Extract Constant Z.gcd => "Big_int_Z.gcd_big_int".

Extraction Language OCaml.
Extraction "checker.ml" check_classes.
