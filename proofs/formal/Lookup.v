(** * Lookup by number: binary trees, in which the extracted numbering keeps what it knows *)

From mathcomp Require Import all_ssreflect zify.

Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.

Section Trees.

Variable T : Type.

(** 0 is here, the odd numbers 1, 3, 5… stand in [odds] as 0, 1, 2…, the even ones 2, 4, 6… in [evens] as 0, 1, 2…. *)
Inductive tree := Leaf | Node (here : option T) (odds evens : tree).

Fixpoint find (n : nat) (t : tree) : option T :=
  if t is Node here odds evens then
    if n == 0 then here else if odd n then find (n.-1 %/ 2) odds else find (n.-1 %/ 2) evens
  else None.

Definition parts (t : tree) : option T * tree * tree :=
  if t is Node here odds evens then (here, odds, evens) else (None, Leaf, Leaf).

(** [steps] bounds the depth; n itself is enough. *)
Fixpoint put_in (steps n : nat) (v : T) (t : tree) : tree :=
  let: (here, odds, evens) := parts t in
  if n == 0 then Node (Some v) odds evens
  else if steps is steps'.+1 then
    if odd n then Node here (put_in steps' (n.-1 %/ 2) v odds) evens else Node here odds (put_in steps' (n.-1 %/ 2) v evens)
  else t.

Definition put (n : nat) : T -> tree -> tree := put_in n n.

Lemma find_parts n t : find n t =
  let: (here, odds, evens) := parts t in
  if n == 0 then here else if odd n then find (n.-1 %/ 2) odds else find (n.-1 %/ 2) evens.
Proof. by case: t => [|//]; rewrite /=; case: ifP => // _; case: ifP. Qed.

Lemma find_put_in steps m n v t : n <= steps -> find m (put_in steps n v t) = if m == n then Some v else find m t.
Proof.
elim: steps m n t => [|steps IH] m n t le.
  move: le; rewrite leqn0 => /eqP->; rewrite [in RHS]find_parts /=.
  by case: (parts t) => [[here odds] evens] /=; case: ifP.
rewrite [in RHS]find_parts /=; case: (parts t) => [[here odds] evens].
case: (n =P 0) => [->|n0]; first by rewrite /=; case: ifP.
have le' : n.-1 %/ 2 <= steps by lia.
case odd_n: (odd n) => /=; case: (m =P 0) => [->|m0]; do ?by case: eqP => // eq_n; case: n0.
- case odd_m: (odd m); first by rewrite IH //; congr (if _ then _ else _); apply/eqP/eqP => [|->//]; lia.
  by case: eqP => // eq_mn; rewrite eq_mn odd_n in odd_m.
- case odd_m: (odd m); last by rewrite IH //; congr (if _ then _ else _); apply/eqP/eqP => [|->//]; lia.
  by case: eqP => // eq_mn; rewrite eq_mn odd_n in odd_m.
Qed.

Lemma find_put m n v t : find m (put n v t) = if m == n then Some v else find m t.
Proof. exact: find_put_in. Qed.

End Trees.

Arguments Leaf T : clear implicits.
