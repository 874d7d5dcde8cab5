(** * SipIt's decision rules and Theorem 3.2 with one margin per position

    arXiv 2510.15511, Theorems 3.1 and 3.2; docs/inversion.md, "Deciding"; [sipit.inversion.decision]. *)

From mathcomp Require Import all_ssreflect ssralg ssrnum ssrint rat zify ring.
From Sipit Require Import Network Collisions.

Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.

Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

(** A distance as far as the rules use it: the l2 norm of the difference, that divided by the norm of the observed state,
    or docs/inversion.md's evened distance (a diagonal fixed by the observed state). *)
Definition distance (F : numDomainType) (S : Type) (dist : S -> S -> F) : Prop :=
  [/\ forall x y, 0 <= dist x y, forall x y, dist x y = dist y x & forall x y z, dist x z <= dist x y + dist y z].

(** ** One position *)
Section Rules.

Variables (F : realFieldType) (S : Type) (dist : S -> S -> F) (V C : eqType) (class : V -> C).
Hypothesis distP : distance dist.

(** [state v]: the state of candidate [v]; [h]: the observed state; [s]: the true token.  Candidates of one class have
    one state (equal embedding rows, [equal_rows]); with [class] the identity this says nothing. *)
Variables (state : V -> S) (h : S) (s : V).
Hypothesis classP : forall u v, class u = class v -> state u = state v.

Local Notation residual v := (dist h (state v)).
Implicit Types (tested : pred V) (tol delta : F) (u v : V).

(** Every token of another class is at least [delta] away from the truth (delta_t of Theorem 3.2). *)
Definition margin (delta : F) : Prop := forall v, class v != class s -> delta <= dist (state v) (state s).

(** Nearest among the tested candidates. *)
Definition nearest (tested : pred V) (v : V) : Prop := tested v /\ forall u, tested u -> residual v <= residual u.

Lemma far_from_truth delta v : margin delta -> class v != class s -> delta <= residual v + residual s.
Proof. by case: distP => _ sym triangle far /far le; rewrite (le_trans le) // (le_trans (triangle _ h _)) // (sym _ h). Qed.

(** Nearest rule: right if the error is below half the margin. *)
Theorem nearest_rule delta tested v : margin delta -> 2%:R * residual s < delta -> tested s -> nearest tested v ->
  class v = class s.
Proof.
move=> far small test_s [_ least]; apply/eqP; apply: contraTT small => /(far_from_truth far) le.
by rewrite -leNgt (le_trans le) // mulr_natl mulr2n ler_add2r least.
Qed.

(** Ball rule with tolerance [tol]: whatever lies within it is right, and the truth does. *)
Theorem ball_rule delta tol : margin delta -> residual s <= tol -> tol < delta - residual s ->
  residual s <= tol /\ forall v, residual v <= tol -> class v = class s.
Proof.
move=> far err sep; split=> // v le_v; apply/eqP; apply: contraTT sep => /(far_from_truth far) le.
by rewrite -leNgt ler_subl_addr (le_trans le) // ler_add2r.
Qed.

(** The rule of the program: the nearest tested candidate, within [tol], every tested rival of another class outside [tol]
    and more than twice as far. *)
Definition accepted tested tol v : Prop := [/\ nearest tested v, residual v <= tol &
  forall u, tested u -> class u != class v -> tol < residual u /\ 2%:R * residual v < residual u].

(** Sound, no margin needed: the truth was tested and its error is within the tolerance. *)
Theorem accepted_is_right tested tol v : tested s -> residual s <= tol -> accepted tested tol v -> class v = class s.
Proof.
move=> test err [_ _ rivals]; apply/eqP; apply: contraTT err => ne.
by have [] := rivals s test; rewrite 1?eq_sym // -ltNge.
Qed.

(** Sound although the truth was never tested: error + tolerance < margin. *)
Theorem accepted_is_right_untested delta tested tol v : margin delta -> residual s + tol < delta ->
  accepted tested tol v -> class v = class s.
Proof.
move=> far sep [_ le _]; apply/eqP; apply: contraTT sep => /(far_from_truth far) le'.
by rewrite -leNgt (le_trans le') // addrC ler_add2l.
Qed.

(** Sound although the error exceeds the tolerance: the factor two then allows errors up to 2/3 of the margin,
    2/3 itself included, because the rule is strict. *)
Theorem accepted_is_right_beyond delta tested tol v : margin delta -> tested s ->
  residual s + tol < delta \/ 3%:R * residual s <= 2%:R * delta -> accepted tested tol v -> class v = class s.
Proof.
move=> far test [sep | sep] acc; first exact: (accepted_is_right_untested far sep acc).
case: acc => _ _ rivals; apply/eqP; apply: contraTT sep => ne.
have [_ twice] : tol < residual s /\ 2%:R * residual v < residual s by apply: rivals; rewrite 1?eq_sym.
have le : 2%:R * delta <= 2%:R * residual v + 2%:R * residual s.
  by rewrite -mulrDr ler_pmul2l ?ltr0n // far_from_truth.
rewrite -ltNge (le_lt_trans le) // (_ : 3%:R * residual s = residual s + 2%:R * residual s); last by ring.
by rewrite ltr_add2r.
Qed.

(** In one formula, for every error that is not exactly 2/3 of the margin: the error and the largest residual that an
    accepted rival could have, min (tol, error / 2), stay below the margin. *)
Corollary accepted_is_right_below delta tested tol v : margin delta -> tested s ->
  residual s + Num.min tol (residual s / 2%:R) < delta -> accepted tested tol v -> class v = class s.
Proof.
move=> far test sep; apply: (accepted_is_right_beyond far test).
have [le | lt] := leP tol (residual s / 2%:R); first by left; rewrite (min_idPl le) in sep.
right; rewrite (min_idPr (ltW lt)) in sep; have := ltW sep; rewrite -(ler_pmul2l (_ : 0 < 2%:R)) ?ltr0n //.
rewrite mulrDr [2%:R * (_ / _)]mulrC divfK ?pnatr_eq0 // (_ : 3%:R * residual s = 2%:R * residual s + residual s) //.
by ring.
Qed.

(** Complete: when the program accepts the truth.  Error <= tol < margin - error, and 3 error < margin. *)
Theorem truth_is_accepted delta tested tol : margin delta -> tested s -> residual s <= tol -> tol < delta - residual s ->
  3%:R * residual s < delta -> accepted tested tol s.
Proof.
move=> far test err sep three.
have out u : class u != class s -> tol < residual u /\ 2%:R * residual s < residual u.
  move=> ne; have le := far_from_truth far ne.
  split; first by rewrite (lt_le_trans sep) // ler_subl_addr.
  by rewrite -(ltr_add2r (residual s)) (lt_le_trans _ le) // (_ : 2%:R * _ + _ = 3%:R * residual s) //; ring.
split=> // [|u _]; last exact: out.
split=> // u _; have [/classP->//|ne] := eqVneq (class u) (class s).
by have [lt _] := out u ne; rewrite (le_trans err) // ltW.
Qed.

(** The calibrated tolerance, four times a bound [nu] of the noise: accepted as soon as the margin exceeds 5 [nu]. *)
Corollary truth_is_accepted_calibrated delta tested nu : margin delta -> tested s -> residual s <= nu ->
  5%:R * nu < delta -> accepted tested (4%:R * nu) s.
Proof.
move=> far test err sep; have nu0 : 0 <= nu by case: distP => /(_ h (state s)) ge0 _ _; exact: le_trans err.
apply: (truth_is_accepted far test).
- by rewrite (le_trans err) // ler_pemull // ler1n.
- by rewrite ltr_subr_addr (le_lt_trans _ sep) // (_ : 5%:R * nu = 4%:R * nu + nu) ?ler_add2l //; ring.
apply: le_lt_trans sep; apply: ler_pmul => //; rewrite ?ler0n ?ler_nat //; by case: distP.
Qed.

End Rules.

(** The condition is exact.  Given numbers err, tol, delta: in every situation with that error, that tolerance and (at
    least) that margin, in which the truth is tested, whatever is accepted is right, if and only if the error is within the
    tolerance, or error and tolerance stay below the margin, or the error is at most 2/3 of the margin.  "Every situation":
    any states, any distance, any vocabulary and classes, any set of tested candidates.  For the converse two tokens with
    states on a line, both tested, are enough. *)
Definition always_right (F : realFieldType) (err tol delta : F) : Prop :=
  forall (S : Type) (dist : S -> S -> F) (V C : eqType) (class : V -> C) (state : V -> S) (h : S) (s : V) (tested : pred V),
    distance dist -> dist h (state s) = err -> margin dist class state s delta -> tested s ->
    forall v, accepted dist class state h tested tol v -> class v = class s.

Theorem accepted_exactly (F : realFieldType) (err tol delta : F) : 0 <= err -> 0 <= tol ->
  always_right err tol delta <-> [\/ err <= tol, err + tol < delta | 3%:R * err <= 2%:R * delta].
Proof.
move=> err0 tol0; split=> [right | cond S dist V C class state h s tested distP eq_err far test v acc]; last first.
  case: cond => [le | lt | le].
  - by apply: (accepted_is_right (tested := tested) (tol := tol) _ _ acc); rewrite ?eq_err.
  - by apply: (accepted_is_right_beyond distP far test _ acc); rewrite eq_err; left.
  - by apply: (accepted_is_right_beyond distP far test _ acc); rewrite eq_err; right.
have [le|lt] := leP err tol; first by constructor 1.
have [lt'|ge] := ltP (err + tol) delta; first by constructor 2.
have [le|gt] := leP (3%:R * err) (2%:R * delta); first by constructor 3.
(* A rival at [near] behind the observed state, the truth at distance [err] before it. *)
pose near := Num.max 0 (delta - err); pose state b : F := if b then - err else near.
have near0 : 0 <= near by rewrite le_maxr lexx.
have near_tol : near <= tol by rewrite le_maxl tol0 ler_subl_addl.
have twice : 2%:R * near < err.
  rewrite /near maxr_pmulr ?ler0n // lt_maxl mulr0 (le_lt_trans tol0 lt) /= mulrBr.
  rewrite ltr_subl_addr (lt_le_trans gt) // (_ : 3%:R * err = err + 2%:R * err) //; ring.
have rt : `|0 - state true| = err by rewrite /= sub0r opprK ger0_norm.
have rf : `|0 - state false| = near by rewrite /= sub0r normrN ger0_norm.
suff: false = true by [].
apply: (right F (fun x y => `|x - y|) _ _ id state 0 true predT) => //.
- by split=> [x y|x y|x y z]; [exact: normr_ge0 | exact: distrC | exact: ler_dist_add].
- case=> // _; rewrite /= opprK ger0_norm ?addr_ge0 //.
  by rewrite -ler_subl_addr le_maxr lexx orbT.
split; [split=> // -[] _ | | case=> // _ _]; rewrite ?rt ?rf //.
by rewrite (le_trans near_tol) // ltW.
Qed.

(** "At least twice as far" instead of "more than twice" is not the same rule: at error 2, margin 3 and tolerance 1 the one
    is right, and the other accepts a wrong token. *)
Corollary more_than_twice_is_right (F : realFieldType) : always_right (2%:R : F) 1 3%:R.
Proof.
apply/accepted_exactly; rewrite ?ler0n ?ler01 //; constructor 3.
by rewrite -!natrM ler_nat.
Qed.

Theorem at_least_twice_is_wrong (F : realFieldType) : exists (dist : F -> F -> F) (state : bool -> F) (h : F),
  [/\ distance dist, dist h (state true) = 2%:R, margin dist id state true 3%:R,
      nearest dist state h predT false &
      [/\ dist h (state false) <= 1, 1 < dist h (state true) & 2%:R * dist h (state false) <= dist h (state true)]].
Proof.
exists (fun x y => `|x - y|), (fun b : bool => if b then - 2%:R else 1), 0.
have r2 : `|0 - - 2%:R| = 2%:R :> F by rewrite sub0r opprK ger0_norm ?ler0n.
have r1 : `|0 - 1| = 1 :> F by rewrite sub0r normrN1.
rewrite r1 r2 mulr1 lexx ltr1n; split=> //.
- by split=> [x y|x y|x y z]; [exact: normr_ge0 | exact: distrC | exact: ler_dist_add].
- by case=> // _; rewrite opprK -[1]/(1%:R) -natrD ger0_norm ?ler0n.
by split=> // -[] _; rewrite ?r1 ?r2 ?lexx // ler1n.
Qed.

(** ** All positions: Theorem 3.2 of the paper, with its own margin and error at every position *)
Section Prompts.

Variables (F : realFieldType) (S : Type) (dist : S -> S -> F) (V C : eqType) (class : V -> C).
Hypothesis distP : distance dist.

(** [state p v]: the state that token [v] has behind the prefix [p].  It depends on the classes of the tokens only. *)
Variables (state : seq V -> V -> S).
Hypothesis classP : forall p q u v, map class p = map class q -> class u = class v -> state p u = state q v.

Variables (v0 : V) (h0 : S).

(** An answer: at every position an accepted candidate behind the prefix recovered so far.  [rule p h v] may be any of
    the rules above; errors do not matter here. *)
Definition answer (rule : seq V -> S -> V -> Prop) (hs : seq S) (r : seq V) : Prop :=
  size r = size hs /\ forall t, (t < size hs)%N -> rule (take t r) (nth h0 hs t) (nth v0 r t).

(** Induction over the positions: if behind every prefix that is right up to classes the rule is right up to classes, so is
    the whole answer.  In particular a wrong member of a right class does not poison later steps. *)
Theorem answer_is_right (rule : seq V -> S -> V -> Prop) (hs : seq S) (s r : seq V) : size s = size hs ->
  (forall t p v, (t < size hs)%N -> map class p = map class (take t s) -> rule p (nth h0 hs t) v ->
     class v = class (nth v0 s t)) ->
  answer rule hs r -> map class r = map class s.
Proof.
move=> size_s right [size_r accepts].
suff prefix t : (t <= size hs)%N -> map class (take t r) = map class (take t s).
  by have := prefix _ (leqnn _); rewrite -{1}size_r -size_s !take_size.
elim: t => [|t IH] lt_t; first by rewrite !take0.
rewrite !(take_nth v0) ?size_r ?size_s // !map_rcons IH 1?ltnW //; congr rcons.
by apply: (right t (take t r)) => //; [apply: IH; exact: ltnW | exact: accepts].
Qed.

(** Theorem 3.2: ||e_t|| < delta_t / 2 at every position, [delta t] being a margin of the true token there. *)
Theorem nearest_recovers (hs : seq S) (s r : seq V) (delta : nat -> F) : size s = size hs ->
  (forall t, (t < size hs)%N -> margin dist class (state (take t s)) (nth v0 s t) (delta t)) ->
  (forall t, (t < size hs)%N -> 2%:R * dist (nth h0 hs t) (state (take t s) (nth v0 s t)) < delta t) ->
  answer (fun p h => nearest dist (state p) h predT) hs r -> map class r = map class s.
Proof.
move=> size_s far small; apply: answer_is_right => // t p v lt_t eq_p [_ least].
apply: (nearest_rule distP (far t lt_t) (small t lt_t) (tested := predT)) => //; split=> // u _.
by have := least u isT; rewrite (classP eq_p (erefl (class v))) (classP eq_p (erefl (class u))).
Qed.

(** The program's rule over a whole prompt: at every position the truth was tested and its error within the tolerance
    there.  No margin is needed; [tested] and [tol] may depend on the prefix and on the observed state. *)
Theorem program_recovers (hs : seq S) (s r : seq V) (tested : seq V -> S -> pred V) (tol : seq V -> S -> F) : size s = size hs ->
  (forall t p, (t < size hs)%N -> map class p = map class (take t s) ->
     tested p (nth h0 hs t) (nth v0 s t) /\
     dist (nth h0 hs t) (state (take t s) (nth v0 s t)) <= tol p (nth h0 hs t)) ->
  answer (fun p h => accepted dist class (state p) h (tested p h) (tol p h)) hs r -> map class r = map class s.
Proof.
move=> size_s hyps; apply: answer_is_right => // t p v lt_t eq_p acc; have [test err] := hyps t p lt_t eq_p.
by apply: (accepted_is_right test _ acc); rewrite (classP eq_p (erefl (class (nth v0 s t)))).
Qed.

End Prompts.

(** ** An executable nearest rule, its cost, and its correctness on a causal network *)
Section Algorithm.

Variables (F : realFieldType) (S : Type) (dist : S -> S -> F) (V : finType) (v0 : V).
Variable state : seq V -> V -> S.

Definition closest (p : seq V) (h : S) : V := [arg min_(v < v0) dist h (state p v)]%O.

(** The recovered prompt, and how many candidates were tested. *)
Fixpoint sipit (p : seq V) (hs : seq S) : seq V * nat :=
  if hs is h :: rest then
    let v := closest p h in let: (r, cost) := sipit (rcons p v) rest in (v :: r, #|V| + cost)%N
  else ([::], 0%N).

(** "Within T n tests." *)
Theorem sipit_cost p hs : (sipit p hs).2 = (size hs * #|V|)%N.
Proof. by elim: hs p => //= h hs IH p; case: (sipit _ _) (IH (rcons p (closest p h))) => r c /= ->; rewrite mulSn. Qed.

Lemma closest_nearest p h : nearest dist (state p) h predT (closest p h).
Proof. by rewrite /closest; case: arg_minP => // v _ least; split=> // u _; exact: least. Qed.

Lemma sipit_answers h0 hs : answer v0 h0 (fun p h => nearest dist (state p) h predT) hs (sipit [::] hs).1.
Proof.
suff H p : size (sipit p hs).1 = size hs /\ forall t, (t < size hs)%N ->
    nearest dist (state (p ++ take t (sipit p hs).1)) (nth h0 hs t) predT (nth v0 (sipit p hs).1 t) by exact: H [::].
elim: hs p => [|h hs IH] p //=; have := IH (rcons p (closest p h)).
case: (sipit _ _) => r c /= [size_r steps]; split=> [|[|t] lt_t]; rewrite ?size_r //=.
  by rewrite cats0; exact: closest_nearest.
by rewrite -cat_rcons; exact: steps.
Qed.

End Algorithm.

(** Theorem 3.2 on a network: causal layers, noisy states of the prompt [s] at all positions of one layer, noise below half
    the margin at each position; the algorithm returns [s] after exactly (length) x (vocabulary) tests. *)
Theorem sipit_inverts_network (F : realFieldType) (U : lmodType F) (X : Type) (V : finType) (x0 : X) (v0 : V)
    (embed : nat -> V -> X) (layers : seq (layer U X)) (dist : X -> X -> F) (s : seq V) (hs : seq X) (delta : nat -> F) :
  let state p v := last_state x0 v0 embed layers (rcons p v) in
  let h := nth x0 (states x0 v0 embed layers s) in
  distance dist -> all_layers causal layers -> size hs = size s ->
  (forall t v, (t < size s)%N -> v != nth v0 s t -> delta t <= dist (state (take t s) v) (h t)) ->
  (forall t, (t < size s)%N -> 2%:R * dist (nth x0 hs t) (h t) < delta t) ->
  sipit dist v0 state [::] hs = (s, (size s * #|V|)%N).
Proof.
move=> state h distP causals size_hs far small.
have truth t : (t < size s)%N -> h t = state (take t s) (nth v0 s t) by move=> lt_t; exact: state_is_last_of_prefix.
rewrite -size_hs -(sipit_cost dist v0 state [::] hs) [LHS]surjective_pairing; congr pair.
rewrite -[LHS]map_id -[RHS]map_id.
apply: (nearest_recovers distP (state := state) (class := id) _ (v0 := v0) (h0 := x0) (hs := hs) (delta := delta)) => //.
- by move=> p q u v; rewrite !map_id => -> ->.
- by move=> t; rewrite size_hs => lt_t v ne; rewrite -truth // far.
- by move=> t; rewrite size_hs => lt_t; rewrite -truth // small.
exact: sipit_answers.
Qed.

(** ** One tolerance for all positions does not do what Theorem 3.2 says

    Margins 1 and 1/2, errors 2/5 and 1/5, each below half the margin of its position: no epsilon is >= both errors and below
    half of both margins, and whatever epsilon the ball rule uses, it misses the first truth or lets the second rival in. *)
Theorem one_tolerance_is_not_enough (epsilon : rat) :
  let margin1 : rat := 1 in let error1 : rat := 2%:Q / 5%:Q in
  let margin2 : rat := 1 / 2%:Q in let error2 : rat := 1 / 5%:Q in
  let rival2 : rat := margin2 - error2 (* the distance of the rival if the error points to it *) in
  [/\ 2%:R * error1 < margin1, 2%:R * error2 < margin2,
      ~~ [&& error1 <= epsilon, error2 <= epsilon, 2%:R * epsilon < margin1 & 2%:R * epsilon < margin2] &
      ~~ ((error1 <= epsilon) && (epsilon < rival2))].
Proof.
move=> margin1 error1 margin2 error2 rival2.
have two : (0 : rat) < 2%:R by rewrite ltr0n.
have lt : (margin2 < 2%:R * error1) && (rival2 < error1) by vm_compute.
split; [by vm_compute | by vm_compute | apply/negP | apply/negP]; case/andP: lt => lt lt'.
  case/and4P=> le _ _ lt2; have := lt_trans lt2 lt.
  by rewrite (ltr_pmul2l two) ltNge le.
by case/andP=> le lt2; have := le_lt_trans le (lt_trans lt2 lt'); rewrite ltxx.
Qed.
