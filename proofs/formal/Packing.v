(** * How many states a margin leaves room for: docs/quantization.md, "counting"

    If all coordinates of all states lie in [0, c m) for a whole c, and any two states differ by at least m in some
    coordinate, then there are at most c^d of them: two states in one cell of the grid of side m differ by less.  For the n^K
    prompts of K tokens: n^K <= c^d, so K <= d log c / log n.  (In the largest coordinate, and by cells; a volume of balls
    would say the like of Euclidean distances.) *)

From mathcomp Require Import all_ssreflect ssralg ssrnum.

Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.

Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Packing.

Variables (F : realFieldType) (m : F) (c d : nat).
Hypothesis m_gt0 : 0 < m.

(** The cell of side [m] in which a number lies. *)
Lemma in_a_cell (l : nat) (x : F) : 0 <= x < l%:R * m -> exists k : 'I_l, k%:R * m <= x < k.+1%:R * m.
Proof.
elim: l => [|l IH] /andP[x0 lt]; first by move: lt; rewrite mul0r ltNge x0.
have [below|above] := ltP x (l%:R * m); last by exists ord_max; rewrite above.
by have [|k k_in] := IH; [rewrite x0 | exists (widen_ord (leqnSn l) k)].
Qed.

Lemma same_cell (k : nat) (x y : F) : k%:R * m <= x < k.+1%:R * m -> k%:R * m <= y < k.+1%:R * m -> `|x - y| < m.
Proof.
have -> : k.+1%:R * m = k%:R * m + m by rewrite -addn1 natrD mulrDl mul1r.
move=> /andP[x1 x2] /andP[y1 y2]; rewrite ltr_distl; apply/andP; split.
  by rewrite ltr_subl_addr (lt_le_trans y2) // ler_add2r.
by rewrite (lt_le_trans x2) // ler_add2r.
Qed.

Theorem packed (T : finType) (state : T -> 'I_d -> F) : (forall t i, 0 <= state t i < c%:R * m) ->
  (forall s t, s != t -> exists i, m <= `|state s i - state t i|) -> (#|T| <= c ^ d)%N.
Proof.
move=> inside apart; pose cell t : {ffun 'I_d -> 'I_c} := [ffun i => xchoose (in_a_cell (inside t i))].
have cell_inj : injective cell.
  move=> s t eq_cell; apply/eqP; apply: contraT => /apart[i]; rewrite leNgt => /negP; case.
  have := xchooseP (in_a_cell (inside s i)); have := xchooseP (in_a_cell (inside t i)).
  have /ffunP/(_ i) := eq_cell; rewrite !ffunE => ->; move=> t_in s_in; exact: same_cell s_in t_in.
by have := leq_card cell cell_inj; rewrite card_ffun !card_ord.
Qed.

(** For the prompts of K tokens over n. *)
Corollary packed_prompts n K (state : K.-tuple 'I_n -> 'I_d -> F) : (forall t i, 0 <= state t i < c%:R * m) ->
  (forall s t, s != t -> exists i, m <= `|state s i - state t i|) -> (n ^ K <= c ^ d)%N.
Proof. by move=> inside apart; have := packed inside apart; rewrite card_tuple card_ord. Qed.

End Packing.

(** ** In Euclidean distance

    States of which any two are at least [r] apart differ by [m] in some coordinate if d m^2 <= r^2: so a cube of side c m holds
    at most c^d of them.  (Balls in place of cells would give (1 + 2 R / r)^d for a ball of radius R; that needs volumes.) *)
Section Euclidean.

Variables (F : realFieldType) (r m : F) (c d : nat).
Hypotheses (r_gt0 : 0 < r) (m_gt0 : 0 < m) (fine : d%:R * m ^+ 2 <= r ^+ 2).

Lemma far_in_a_coordinate (x y : 'I_d -> F) : r ^+ 2 <= \sum_i (x i - y i) ^+ 2 -> exists i, m <= `|x i - y i|.
Proof.
move=> far; case: (pickP (fun i => m <= `|x i - y i|)) => [i le|near]; first by exists i.
case: (posnP d) far fine => [d0|d_gt0] far _.
  by move: far; rewrite big1 => [|[i lt] _]; [rewrite leNgt exprn_gt0 | exfalso; move: lt; rewrite d0].
have less i : (x i - y i) ^+ 2 < m ^+ 2.
  by rewrite -[_ ^+ 2]ger0_norm ?sqr_ge0 // normrX ltr_expn2r ?nnegrE ?normr_ge0 ?ltW // ltNge near.
have : \sum_i (x i - y i) ^+ 2 < \sum_(i < d) m ^+ 2.
  rewrite (bigD1 (Ordinal d_gt0)) // [X in _ < X](bigD1 (Ordinal d_gt0)) //=.
  by apply: ltr_le_add => //; apply: ler_sum => i _; exact: ltW.
by rewrite sumr_const card_ord -mulr_natl => /(le_lt_trans far)/lt_le_trans/(_ fine); rewrite ltxx.
Qed.

Theorem packed_euclidean (T : finType) (state : T -> 'I_d -> F) : (forall t i, 0 <= state t i < c%:R * m) ->
  (forall s t, s != t -> r ^+ 2 <= \sum_i (state s i - state t i) ^+ 2) -> (#|T| <= c ^ d)%N.
Proof.
move=> inside apart; apply: (packed inside) => s t /apart; exact: far_in_a_coordinate.
Qed.

End Euclidean.
