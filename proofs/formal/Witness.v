(** * The published witness of Theorem 2.2, Case B: its gap and its repair.  docs/witness.md *)

From mathcomp Require Import all_ssreflect all_algebra zify ring.

Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.

Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section CaseB.

(** A real closed field (for the square root of the norm) with an exponential, of which only this is used. *)
Variables (F : rcfType) (expo : F -> F).
Hypotheses (expo_gt0 : forall x, 0 < expo x) (expo0 : expo 0 = 1) (expo_le : forall x y, x <= y -> expo x <= expo y).

(** Width d = d'.+1, head width g'.+1, T.+1 tokens (so T here is T - 1 there), any vocabulary. *)
Variables (d' g' T : nat) (Token : eqType).
Local Notation d := d'.+1.
Local Notation g := g'.+1.
Local Notation prompt := ('I_T.+1 -> Token).

(** ** One pre-norm block with one head, read at the last position (the MLP and further blocks are zero) *)

Variable epsilon : F.
Hypothesis epsilon_gt0 : 0 < epsilon.

Definition dot n (x y : 'rV[F]_n) : F := (x *m y^T) 0 0.
Definition mean (x : 'rV[F]_d) : F := (\sum_i x 0 i) / d%:R.
Definition variance (x : 'rV[F]_d) : F := (\sum_i (x 0 i - mean x) ^+ 2) / d%:R.

(** LayerNorm with scale 1 and shift 0. *)
Definition norm (x : 'rV[F]_d) : 'rV[F]_d := (Num.sqrt (variance x + epsilon))^-1 *: (x - const_mx (mean x)).

Record parameters := Weights {
  token_row : Token -> 'rV[F]_d;
  position_row : 'I_T.+1 -> 'rV[F]_d;
  query : 'M[F]_(d, g); key : 'M[F]_(d, g); val_mx : 'M[F]_(d, g); out_mx : 'M[F]_(g, d) }.

Definition row_in (th : parameters) (u : prompt) j : 'rV[F]_d := token_row th (u j) + position_row th j.

(** The score that the last position gives to position j, and the causal softmax row (all positions are <= the last). *)
Definition score th u j : F :=
  dot (norm (row_in th u ord_max) *m query th) (norm (row_in th u j) *m key th) / Num.sqrt g%:R.

Definition attention th u : 'rV[F]_g :=
  (\sum_j expo (score th u j))^-1 *: \sum_j expo (score th u j) *: (norm (row_in th u j) *m val_mx th).

(** r(u; theta): the residual stream of the last token behind the block. *)
Definition last_state th u : 'rV[F]_d := row_in th u ord_max + attention th u *m out_mx th.

(** ** The witness *)

(** Orthonormal and mean-free (they exist for d >= 4). *)
Variables (e p q : 'rV[F]_d).
Hypotheses (ee : dot e e = 1) (pp : dot p p = 1) (qq : dot q q = 1).
Hypotheses (ep : dot e p = 0) (eq_ : dot e q = 0) (pq : dot p q = 0).
Hypotheses (e0 : \sum_i e 0 i = 0) (p0 : \sum_i p 0 i = 0) (q0 : \sum_i q 0 i = 0).

Variables (i : 'I_T.+1) (Lambda : F).
Hypothesis i_inner : i != ord_max.

Definition c_e : F := (Num.sqrt (d%:R^-1 + epsilon))^-1.
Definition c_ep : F := (Num.sqrt (2%:R / d%:R + epsilon))^-1.

Definition axis n : 'rV[F]_n.+1 := delta_mx 0 0.

(** theta* for the ordered pair (s, t): it depends on s only. *)
Definition witness (s : prompt) : parameters := Weights
  (fun v => if (v == s i) || (v == s ord_max) then e else 0)
  (fun j => if j == i then p else if j == ord_max then q else 0)
  ((Num.sqrt g%:R * Lambda / c_ep ^+ 2) *: (e^T *m axis g')) (p^T *m axis g') (e^T *m axis g') ((axis g')^T *m axis d').

(** *** Algebra of the rows *)

Lemma dotC n (x y : 'rV[F]_n) : dot x y = dot y x.
Proof. by rewrite /dot -[x *m y^T]trmxK trmx_mul trmxK mxE. Qed.

Lemma dotDl n (x y z : 'rV[F]_n) : dot (x + y) z = dot x z + dot y z.
Proof. by rewrite /dot mulmxDl mxE. Qed.

Lemma dotZl n a (x z : 'rV[F]_n) : dot (a *: x) z = a * dot x z.
Proof. by rewrite /dot -scalemxAl mxE. Qed.

Lemma dotDr n (x y z : 'rV[F]_n) : dot z (x + y) = dot z x + dot z y.
Proof. by rewrite dotC dotDl !(dotC z). Qed.

Lemma dotZr n a (x z : 'rV[F]_n) : dot z (a *: x) = a * dot z x.
Proof. by rewrite dotC dotZl (dotC z). Qed.

Lemma dot0l n (z : 'rV[F]_n) : dot 0 z = 0.
Proof. by rewrite /dot mul0mx mxE. Qed.

Lemma mulmx_axis n (x y : 'rV[F]_d) : x *m (y^T *m axis n) = dot x y *: axis n.
Proof. by rewrite mulmxA [x *m y^T]mx11_scalar mul_scalar_mx. Qed.

Lemma dot_axis n : dot (axis n) (axis n) = 1.
Proof. by rewrite /dot trmx_delta mul_delta_mx !mxE. Qed.

(** A row a e + b p + c q is mean-free; its norm divides by sqrt ((a^2 + b^2 + c^2) / d + epsilon). *)
Lemma norm_combination a b c : let x := a *: e + b *: p + c *: q in
  norm x = (Num.sqrt ((a ^+ 2 + b ^+ 2 + c ^+ 2) / d%:R + epsilon))^-1 *: x.
Proof.
move=> x; have mean0 : mean x = 0.
  rewrite /mean (eq_bigr (fun k => a * e 0 k + b * p 0 k + c * q 0 k)) => [|k _]; last by rewrite !mxE.
  by rewrite !big_split /= -!mulr_sumr e0 p0 q0 !mulr0 !addr0 mul0r.
have var : \sum_k (x 0 k - mean x) ^+ 2 = dot x x.
  by rewrite /dot mxE; apply: eq_bigr => k _; rewrite mean0 subr0 !mxE expr2.
have dxx : dot x x = a ^+ 2 + b ^+ 2 + c ^+ 2.
  rewrite !dotDl !dotDr !dotZl !dotZr ee pp qq ep eq_ pq (dotC p e) (dotC q e) (dotC q p) ep eq_ pq; ring.
rewrite /norm /variance var dxx mean0; congr (_ *: _).
by apply/rowP => k; rewrite !mxE subr0.
Qed.

(** *** The heads' numbers *)

(** 1 where the row of u_j receives e. *)
Definition marked (s u : prompt) j : F := ((u j == s i) || (u j == s ord_max))%:R.

Lemma row_in_witness s u j : row_in (witness s) u j =
  marked s u j *: e + (j == i)%:R *: p + (j == ord_max)%:R *: q.
Proof.
rewrite /row_in /= /marked -addrA; congr (_ + _); first by case: ifP => _; rewrite ?scale1r ?scale0r.
have [->|_] := eqVneq j i; first by rewrite (negPf i_inner) scale1r scale0r addr0.
by rewrite scale0r add0r; case: ifP => _; rewrite ?scale1r ?scale0r.
Qed.

(** The norm's factor at position j. *)
Definition factor s u j : F :=
  (Num.sqrt ((marked s u j ^+ 2 + (j == i)%:R ^+ 2 + (j == ord_max)%:R ^+ 2) / d%:R + epsilon))^-1.

Lemma dot_e s u j : dot (norm (row_in (witness s) u j)) e = factor s u j * marked s u j.
Proof.
rewrite row_in_witness norm_combination !dotZl !dotDl !dotZl ee (dotC p e) (dotC q e) ep eq_.
by rewrite /factor; ring.
Qed.

Lemma dot_p s u j : dot (norm (row_in (witness s) u j)) p = factor s u j * (j == i)%:R.
Proof.
rewrite row_in_witness norm_combination !dotZl !dotDl !dotZl pp ep (dotC q p) pq.
by rewrite /factor; ring.
Qed.

Lemma sqrt_g_neq0 : Num.sqrt g%:R != 0 :> F.
Proof. by rewrite gt_eqF // sqrtr_gt0 ltr0n. Qed.

Lemma score_witness s u j : score (witness s) u j =
  Lambda / c_ep ^+ 2 * (factor s u ord_max * marked s u ord_max) * (factor s u j * (j == i)%:R).
Proof.
rewrite /score /= -scalemxAr !mulmx_axis dotZl dotZl dotZr dot_axis dot_e dot_p.
move: (factor s u ord_max * _) (factor s u j * _) => x y.
apply: (canLR (mulfK sqrt_g_neq0)); move: (Num.sqrt g%:R) (c_ep ^+ 2)^-1 => r c; ring.
Qed.

(** The component that the head writes into coordinate 1. *)
Definition written s u : F :=
  (\sum_j expo (score (witness s) u j))^-1 * \sum_j expo (score (witness s) u j) * (factor s u j * marked s u j).

Lemma last_state_witness s u : last_state (witness s) u = row_in (witness s) u ord_max + written s u *: axis d'.
Proof.
congr (_ + _); rewrite /attention /written.
rewrite (eq_bigr (fun j => (expo (score (witness s) u j) * (factor s u j * marked s u j)) *: axis g')) => [|j _].
  rewrite -scaler_suml scalerA -scalemxAl; congr (_ *: _).
  by rewrite mulmxA [axis g' *m _]mx11_scalar -/(dot _ _) dot_axis mul1mx.
by rewrite /= mulmx_axis scalerA dot_e.
Qed.

(** m_u = #{j not in {i, T}: u_j in {s_i, s_T}}. *)
Definition marks (s u : prompt) : nat :=
  \sum_(j | (j != i) && (j != ord_max)) ((u j == s i) || (u j == s ord_max)).

Lemma c_e_gt0 : 0 < c_e.
Proof. by rewrite invr_gt0 sqrtr_gt0 addr_gt0 // invr_gt0 ltr0n. Qed.

Lemma c_ep_gt0 : 0 < c_ep.
Proof. by rewrite invr_gt0 sqrtr_gt0 addr_gt0 // divr_gt0 ?ltr0n. Qed.

Lemma c_ep_lt : c_ep < c_e.
Proof.
have pos (x : F) : 0 < x -> 0 < x + epsilon by move=> x0; rewrite addr_gt0.
have d0 : 0 < d%:R^-1 :> F by rewrite invr_gt0 ltr0n.
have d2 : 0 < 2%:R / d%:R :> F by rewrite divr_gt0 ?ltr0n.
rewrite /c_ep /c_e ltf_pinv ?posrE ?sqrtr_gt0 ?pos // ltr_sqrt ?pos // ltr_add2r.
by rewrite -[X in X < _]mul1r ltr_pmul2r // ltr1n.
Qed.

Lemma written_formula s u : u ord_max = s ord_max ->
  let weight := expo (Lambda * (factor s u i / c_ep)) in
  written s u = (weight * (factor s u i * marked s u i) + (c_ep + (marks s u)%:R * c_e)) / (weight + T%:R).
Proof.
move=> eq_last weight; have last_i : (ord_max == i) = false by rewrite eq_sym (negPf i_inner).
have m1 : marked s u ord_max = 1 by rewrite /marked eq_last eqxx orbT.
have f1 : factor s u ord_max = c_ep.
  by rewrite /factor m1 last_i eqxx /c_ep expr1n expr0n /= addr0 -[1 + 1]/(2%:R).
have at_i : expo (score (witness s) u i) = weight.
  rewrite score_witness m1 f1 eqxx !mulr1 /weight; congr expo; rewrite expr2 invfM.
  by rewrite -!mulrA; congr (_ * _); rewrite [c_ep * _]mulrC !mulrA mulrAC divfK ?gt_eqF ?c_ep_gt0 // mulrC.
have off_i j : j != i -> expo (score (witness s) u j) = 1.
  by move=> /negPf ne; rewrite score_witness ne !mulr0 expo0.
have other j : (j != i) && (j != ord_max) ->
    factor s u j * marked s u j = ((u j == s i) || (u j == s ord_max))%:R * c_e.
  case/andP=> /negPf ne_i /negPf ne_T; rewrite /factor /marked ne_i ne_T expr0n /= !addr0.
  by case: (_ || _); rewrite ?mulr0 ?mul0r // expr1n mulr1 mul1r div1r.
have den : \sum_j expo (score (witness s) u j) = weight + T%:R.
  rewrite (bigD1 i) //= at_i; congr (_ + _); rewrite (eq_bigr (fun=> 1)) => [|j /off_i//].
  by rewrite sumr_const; congr (_ *+ _); have := cardC1 i; rewrite card_ord.
rewrite /written den mulrC; congr (_ / _).
rewrite (bigD1 i) //= at_i; congr (_ + _).
rewrite (bigD1 ord_max) ?last_i //= off_i ?last_i // mul1r f1 m1 mulr1; congr (_ + _).
rewrite /marks natr_sum mulr_suml; apply: eq_bigr => j ne.
by rewrite off_i ?other ?mul1r //; case/andP: ne.
Qed.

(** ** The gap: t_i = s_T (for example s = ab, t = bb)

    The printed witness separates the pair exactly if m_s != m_t; with two tokens never. *)
Section Gap.

Variables (s t : prompt).
Hypotheses (mismatch : s i != t i) (same_last : s ord_max = t ord_max).

Lemma factor_marked u : (u i == s i) || (u i == s ord_max) -> factor s u i = c_ep /\ marked s u i = 1.
Proof.
move=> mark; have m1 : marked s u i = 1 by rewrite /marked mark.
split=> //; rewrite /factor m1 eqxx (negPf i_inner) expr1n expr0n /= addr0.
by rewrite -[1 + 1]/(2%:R).
Qed.

Theorem gap_difference : t i = s ord_max ->
  written s s - written s t = ((marks s s)%:R - (marks s t)%:R) * c_e / (expo Lambda + T%:R).
Proof.
move=> gap; rewrite !written_formula //; have [|-> ->] := @factor_marked s; first by rewrite eqxx.
have [|-> ->] := @factor_marked t; first by rewrite gap eqxx orbT.
rewrite divff ?gt_eqF ?c_ep_gt0 // !mulr1 -mulrBl; congr (_ / _).
by move: (expo Lambda * _) => x; ring.
Qed.

Theorem gap_criterion : t i = s ord_max ->
  last_state (witness s) s = last_state (witness s) t <-> marks s s = marks s t.
Proof.
move=> gap; have rows : row_in (witness s) s ord_max = row_in (witness s) t ord_max by rewrite /row_in same_last.
have Z0 : 0 < expo Lambda + T%:R by rewrite ltr_paddr ?ler0n.
have diff := gap_difference gap; rewrite !last_state_witness rows.
split=> [/addrI/eqP | eq_m]; last first.
  by congr (_ + _ *: _); apply/eqP; rewrite -subr_eq0 diff eq_m subrr !mul0r.
rewrite -subr_eq0 -scalerBl scaler_eq0 => /orP[|/eqP/rowP/(_ 0)]; last first.
  by rewrite !mxE => /eqP; rewrite oner_eq0.
rewrite diff !mulf_eq0 [(_ + _)^-1 == 0]invr_eq0 (gt_eqF Z0) (gt_eqF c_e_gt0) !orbF subr_eq0 eqr_nat.
by move/eqP.
Qed.

(** Outside the gap (t_i != s_T) the witness works, as soon as T c_e < e^Lambda c_ep with Lambda >= 0.  The choice
    e^Lambda = (1 - delta) T / delta of the paper is of this kind for delta < c_ep / (c_ep + c_e). *)
Theorem outside_gap : t i != s ord_max -> 0 <= Lambda -> T%:R * c_e < expo Lambda * c_ep -> (0 < T)%N ->
  written s t < written s s.
Proof.
move=> out L0 big T0; rewrite !written_formula //; have [|-> ->] := @factor_marked s; first by rewrite eqxx.
have m0 : marked s t i = 0 by rewrite /marked eq_sym (negPf mismatch) (negPf out).
have f0 : factor s t i = c_e.
  by rewrite /factor m0 eqxx (negPf i_inner) expr1n !expr0n /= addr0 add0r div1r.
rewrite m0 f0 !mulr0 add0r divff ?gt_eqF ?c_ep_gt0 // !mulr1.
have Z0 : 0 < expo Lambda + T%:R by rewrite ltr_paddr ?ler0n.
have le_w : expo Lambda <= expo (Lambda * (c_e / c_ep)).
  by apply: expo_le; rewrite ler_pemulr // ler_pdivl_mulr ?c_ep_gt0 // mul1r ltW ?c_ep_lt.
have Z1 : 0 < expo (Lambda * (c_e / c_ep)) + T%:R by rewrite ltr_paddr ?ler0n.
have m_le : (marks s t < T)%N.
  apply: (@leq_ltn_trans (\sum_(j | (j != i) && (j != ord_max)) 1)); first by apply: leq_sum => j _; case: (_ || _).
  rewrite sum1_card; have : #|[pred j | (j != i) && (j != ord_max)]|.+1 = #|predC1 i|.
    by rewrite (cardD1 (ord_max : 'I_T.+1) (predC1 i)) !inE eq_sym i_inner add1n; congr _.+1; apply: eq_card => j; rewrite !inE andbC.
  by rewrite cardC1 card_ord /= => /eq_leq.
have top : c_ep + (marks s t)%:R * c_e < T%:R * c_e.
  apply: (@lt_le_trans _ _ (c_e + (marks s t)%:R * c_e)); first by rewrite ltr_add2r c_ep_lt.
  by rewrite -[X in X + _]mul1r -mulrDl ler_pmul2r ?c_e_gt0 // -[1](mulr1n) -natrD ler_nat.
apply: (@lt_trans _ _ (T%:R * c_e / (expo Lambda + T%:R))).
  apply: (@lt_le_trans _ _ (T%:R * c_e / (expo (Lambda * (c_e / c_ep)) + T%:R))).
    by rewrite ltr_pmul2r ?invr_gt0.
  by rewrite ler_wpmul2l ?mulr_ge0 ?ler0n ?(ltW c_e_gt0) // lef_pinv ?posrE // ler_add2r.
rewrite ltr_pmul2r ?invr_gt0 // (lt_le_trans big) // ler_addl addr_ge0 ?(ltW c_ep_gt0) //.
by rewrite mulr_ge0 ?ler0n ?(ltW c_e_gt0).
Qed.

End Gap.

(** ** The repair: one of the two ordered pairs is outside the gap *)
Theorem repaired (s t : prompt) : s i != t i -> s ord_max = t ord_max -> (0 < T)%N ->
  0 <= Lambda -> T%:R * c_e < expo Lambda * c_ep ->
  last_state (witness s) s != last_state (witness s) t \/ last_state (witness t) s != last_state (witness t) t.
Proof.
move=> mismatch same T0 L0 big.
have separated a b : a i != b i -> a ord_max = b ord_max -> b i != a ord_max ->
    last_state (witness a) a != last_state (witness a) b.
  move=> ne eq_last out; apply/eqP; rewrite !last_state_witness {1}/row_in eq_last => /addrI/eqP.
  rewrite -subr_eq0 -scalerBl scaler_eq0 => /orP[|/eqP/rowP/(_ 0)]; last first.
    by rewrite !mxE => /eqP; rewrite oner_eq0.
  by rewrite subr_eq0 gt_eqF // outside_gap.
have [gap|out] := eqVneq (t i) (s ord_max); last by left; apply: separated.
right; rewrite eq_sym; apply: separated => //; first by rewrite eq_sym.
by rewrite -same -gap.
Qed.

End CaseB.
