(** * Every claim that the checker lets through is true *)

From Coq Require Import Reals QArith Qreals Qround NArith ZArith List Bool Lra Lia.
From Sipit Require Import Elementary Intervals Tensors Meaning Checker.
Import ListNotations.
Local Open Scope R_scope.

Section Soundness.

Variables (u_ : unspecified) (theta : N -> N -> R) (prompt : BinNums.positive -> N -> Z).
Hypothesis prompt_in_vocabulary : forall n k, (0 <= prompt n k < Zpos n)%Z.

Local Notation meaning := (meaning u_ theta prompt).
Local Notation values := (values u_ theta prompt).
Local Notation tensor_of := (tensor_of u_ theta prompt).

(** ** Kinds *)
Lemma same_kind_eq a b : same_kind a b = true -> a = b.
Proof. destruct a, b; simpl; congruence. Qed.

Ltac kinds := repeat match goal with
  | H : _ && _ = true |- _ => apply andb_true_iff in H as [? ?]
  | H : same_kind _ _ = true |- _ => apply same_kind_eq in H
  end.

Lemma truth_kind b : kind_ok Truth (truth b).
Proof. destruct b; simpl; auto. Qed.

Lemma is_true_truth b : is_true (truth b) = b.
Proof. unfold is_true, truth; destruct b; destruct (Req_EM_T _ _); trivial; lra. Qed.

Lemma whole_number x : whole x = IZR (Int_part x).
Proof. reflexivity. Qed.

Lemma total_whole xs : Forall (kind_ok Whole) xs -> kind_ok Whole (total xs).
Proof.
induction 1 as [|x xs [z ->] _ [y IH]]; simpl in *; [now exists 0%Z | exists (z + y)%Z; now rewrite IH, plus_IZR].
Qed.

Lemma total_kind k xs : numeric k = true -> Forall (kind_ok k) xs -> kind_ok k (total xs).
Proof. destruct k; try discriminate; [simpl; trivial | intros _; apply total_whole]. Qed.

(** ** Functions of one and of two numbers *)
Lemma unary_sound u from to b c x : unary_kinds u from to = true -> unary_limits u from b = Some c ->
  within b x -> kind_ok from x -> within c (unary_value u_ u x) /\ kind_ok to (unary_value u_ u x).
Proof.
intros K L A X; destruct u; simpl in K, L |- *;
  repeat match type of L with (if ?e then _ else _) = _ => destruct e eqn:?; [|discriminate] end;
  try (injection L as <-); kinds; subst.
- (* Neg *) split; [now apply neg_sound|]; destruct to; try discriminate; simpl in *; trivial.
  destruct X as [z ->]; exists (- z)%Z; now rewrite opp_IZR.
- split; [now apply exp_sound | exact I].
- split; [now apply expm1_sound | exact I].
- split; [|exact I]; apply log_sound; [|exact A].
  match goal with H : above_value _ _ = true |- _ => pose proof (above_value_sound _ _ _ H A) end; rational; lra.
- split; [|exact I]; apply log1p_sound; [|exact A].
  match goal with H : above_value _ _ = true |- _ => pose proof (above_value_sound _ _ _ H A) end.
  unfold minus_one in *; rational; lra.
- split; [now apply sqrt_sound | exact I].
- split; [|exact I]; apply rsqrt_sound.
  match goal with H : above_value _ _ = true |- _ => pose proof (above_value_sound _ _ _ H A) end; rational; lra.
- split; [apply sigmoid_sound | exact I].
- split; [now apply tanh_sound | exact I].
- split; [apply odd_sound; [apply erf_odd | exact A] | exact I].
- split; [apply sin_sound | exact I].
- split; [apply cos_sound | exact I].
- split; [exact (gate_sound _ _ _ _ (erf_gelu u_) A) | exact I].
- split; [exact (gate_sound _ _ _ _ tanh_gelu_gate A) | exact I].
- split; [exact (gate_sound _ _ _ _ silu_gate A) | exact I].
- split; [exact (gate_sound _ _ _ _ mish_gate A) | exact I].
- split; [|exact I]; apply softplus_sound; compared; rational; lra.
- split; [now apply relu_sound | exact I].
- split; [now apply abs_sound | exact I].
- split; [|exact I]; destruct (Qeq_bool slope 1) eqn:E; injection L as <-; [|now apply leaky_sound].
  apply Qeq_bool_iff, Qeq_eqR in E; rational; now rewrite leaky_one.
- split; [now apply elu_sound | exact I].
- split; [now apply clamp_sound | exact I].
- (* Power *) split; [now apply power_sound|]; destruct to; try discriminate; simpl in *; trivial.
  destruct X as [z ->]; exists (z ^ Z.of_nat n)%Z; now rewrite pow_IZR.
- (* Floor *) split; [now apply floor_sound | simpl; eexists; apply whole_number].
- split; [now apply quotient_sound | simpl; eexists; apply whole_number].
- (* Remainder *) simpl in X; destruct X as [z ->]; split; [apply remainder_sound|].
  simpl; exists (z - Zpos by_ * Int_part (IZR z / IZR (Zpos by_)))%Z; now rewrite minus_IZR, mult_IZR, whole_number.
- (* Convert *) destruct from, to; try discriminate; simpl in *; (split; [|trivial]); try exact A.
  + destruct X as [-> | ->]; split; simpl; rational; lra.
  + destruct X as [-> | ->]; split; simpl; rational; lra.
  + destruct X as [-> | ->]; [now exists 0%Z | now exists 1%Z].
- split; [apply everything_sound | apply truth_kind].
Qed.

Lemma binary_sound b (same : bool) k k' to x y c (p q : R) : binary_kinds b k k' to = true ->
  binary_limits b same x y = Some c -> (same = true -> p = q) -> within x p -> kind_ok k p -> within y q -> kind_ok k' q ->
  within c (binary_value b p q) /\ kind_ok to (binary_value b p q).
Proof.
intros K L S A X B Y; destruct b; simpl in K, L |- *; try (injection L as <-); kinds; subst;
  try (split; [apply everything_sound | apply truth_kind]).
- split; [now apply add_sound|]; destruct to; try discriminate; simpl in *; trivial.
  destruct X as [z ->], Y as [z' ->]; exists (z + z')%Z; now rewrite plus_IZR.
- split; [now apply sub_sound|]; destruct to; try discriminate; simpl in *; trivial.
  destruct X as [z ->], Y as [z' ->]; exists (z - z')%Z; now rewrite minus_IZR.
- split; [destruct same; [rewrite <- (S eq_refl); now apply square_sound | now apply mul_sound]|].
  destruct to; try discriminate; simpl in *; trivial.
  destruct X as [z ->], Y as [z' ->]; exists (z * z')%Z; now rewrite mult_IZR.
- destruct (positive y || negative y) eqn:P; [|discriminate]; injection L as <-; split; [|exact I].
  apply div_sound; [|exact A | exact B]; apply orb_true_iff in P as [P|P].
    pose proof (positive_sound _ _ P B); lra.
  pose proof (negative_sound _ _ P B); lra.
- split; [now apply max_sound | exact I].
- split; [now apply min_sound | exact I].
Qed.

(** ** Lines of the arguments *)
Lemma all_lines_spec cs ls : all_lines cs = Some ls -> Forall2 (fun c l => state c = Proved l) cs ls.
Proof.
revert ls; induction cs as [|c cs IH]; intros ls H; simpl in H; [injection H as <-; constructor|].
destruct (state c) as [|l] eqn:E; [discriminate|].
destruct (all_lines cs) as [ls'|]; [|discriminate]; injection H as <-; constructor; auto.
Qed.

Definition argument_ok (c : cell) (l : line) (v : tensor) : Prop := entry_ok (typed c) l v /\ cell_ok c v.

Inductive arguments_ok : list cell -> list line -> list tensor -> Prop :=
| no_arguments : arguments_ok [] [] []
| one_more c l v cs ls vs : argument_ok c l v -> arguments_ok cs ls vs -> arguments_ok (c :: cs) (l :: ls) (v :: vs).

Lemma arguments_are_ok cs ls vs : all_lines cs = Some ls -> Forall2 cell_ok cs vs -> arguments_ok cs ls vs.
Proof.
intros H; apply all_lines_spec in H; revert vs; induction H as [|c l cs ls E H IH]; intros vs C.
  inversion C; constructor.
inversion C as [|? v ? vs' A B]; subst; constructor; [|now apply IH].
split; [destruct A as [A _]; rewrite E in A; exact A | exact A].
Qed.

Lemma no_mask c l v : argument_ok c l v -> unmasked l = true ->
  forall k, exists x, v k = Some x /\ within (limits l) x /\ kind_ok (of_kind (typed c)) x.
Proof. intros [H _] U; exact (unmasked_entry _ _ _ U H). Qed.

Lemma numbers_ok c l v ks : argument_ok c l v -> unmasked l = true ->
  Forall (within (limits l)) (numbers v ks) /\ Forall (kind_ok (of_kind (typed c))) (numbers v ks).
Proof.
intros H U; unfold numbers; split; apply Forall_map, Forall_forall; intros k _;
  destruct (no_mask _ _ _ H U k) as [x [E [W K]]]; now rewrite E.
Qed.

(** ** Hulls of several lines *)
Lemma hull_of_sound b ls x : within b x \/ Exists (fun l => within (limits l) x) ls -> within (hull_of b ls) x.
Proof.
induction ls as [|l ls IH]; simpl; intros [H|H].
- exact H.
- inversion H.
- apply hull_sound; left; apply IH; now left.
- apply hull_sound; inversion H; [right; assumption | left; apply IH; now right].
Qed.

(** ** Masked entries are named exactly *)
Lemma mask_ok (t : type) b f (v : tensor) :
  (forall k, match v k with Some x => within b x /\ kind_ok (of_kind t) x /\ f k = false | None => f k = true end) ->
  entry_ok t (Line b (mask_of t f)) (fun k => v (wrap (size (dims t)) k)).
Proof.
intros H k; rewrite mask_of_spec; simpl; exact (H (wrap (size (dims t)) k)).
Qed.

Lemma plain_wrapped (t : type) b (v : tensor) :
  (forall k, In k (places t) -> exists x, v k = Some x /\ within b x /\ kind_ok (of_kind t) x) ->
  entry_ok t (Line b None) (fun k => v (wrap (size (dims t)) k)).
Proof. intros H; apply plain_ok; intros k; apply H, wrap_place. Qed.

(** ** Constants *)
Lemma constant_limits_sound qs b q : constant_limits qs = Some b -> In (Some q) qs -> within b (Q2R q).
Proof.
revert b; induction qs as [|[p|] qs IH]; intros b L; simpl in L |- *; [intros []| |].
- injection L as <-; destruct (constant_limits qs) as [c|] eqn:E.
    intros [H|H]; [injection H as ->; apply hull_sound; left; apply exactly_sound|].
    apply hull_sound; right; now apply IH.
  intros [H|H]; [injection H as ->; apply exactly_sound|].
  exfalso; clear IH; revert E H; induction qs as [|[r|] qs IH]; simpl; try discriminate; [tauto|].
  intros E [H|H]; [discriminate | now apply IH].
- intros [H|H]; [discriminate | now apply IH].
Qed.

Lemma entry_kind_sound k q : entry_kind k (Some q) = true -> kind_ok k (Q2R q).
Proof.
destruct k; simpl; trivial.
- intros H; apply Qeq_bool_iff, Qeq_eqR in H; rewrite H, Q2R_Z; eauto.
- intros H; apply orb_true_iff in H as [H|H]; apply Qeq_bool_iff, Qeq_eqR in H; rewrite H; rational; auto.
Qed.

Lemma constant_sound default entries to :
  state_ok to (derive (Constant default entries) to [] false)
    (fun k => option_map Q2R (entry default (tabulated entries) (wrap (size (dims to)) k))).
Proof.
simpl; destruct (entry_kind _ default && forallb _ entries) eqn:K; [|exact I].
change (forallb (entry_kind (of_kind to)) (default :: entries) = true) in K; rewrite forallb_forall in K.
assert (ok : forall k q, entry default (tabulated entries) k = Some q ->
    within (match constant_limits (default :: entries) with Some b => b | None => everything end) (Q2R q) /\ kind_ok (of_kind to) (Q2R q)).
  intros k q E; pose proof (entry_in default entries k) as IN; rewrite E in IN; split; [|now apply entry_kind_sound, K].
  destruct (constant_limits (default :: entries)) as [b|] eqn:L; [now apply constant_limits_sound with (1 := L) | apply everything_sound].
change (is_masked default || existsb is_masked entries) with (existsb is_masked (default :: entries)).
destruct (existsb is_masked (default :: entries)) eqn:M; simpl.
- apply (mask_ok to _ _ (fun k => option_map Q2R (entry default (tabulated entries) k))); intros k.
  destruct (entry default (tabulated entries) k) as [q|] eqn:E; simpl; [|reflexivity].
  destruct (ok k q E); auto.
- apply (plain_wrapped to _ (fun k => option_map Q2R (entry default (tabulated entries) k))); intros k _.
  destruct (entry default (tabulated entries) k) as [q|] eqn:E; simpl; [destruct (ok k q E); eauto|].
  exfalso; pose proof (entry_in default entries k) as IN; rewrite E in IN.
  assert (existsb is_masked (default :: entries) = true) by (apply existsb_exists; exists None; auto); congruence.
Qed.

(** ** Rows of exponentials *)
Lemma total_nonneg es : (forall e, In e es -> 0 <= e) -> 0 <= total es.
Proof.
induction es as [|e es IH]; simpl; intros H; [lra|].
pose proof (H e (or_introl eq_refl)); assert (0 <= total es) by (apply IH; auto); lra.
Qed.
Lemma total_positive es e : (forall e, In e es -> 0 <= e) -> In e es -> 0 < e -> 0 < total es.
Proof.
induction es as [|y es IH]; simpl; intros H K P; [destruct K|].
pose proof (H y (or_introl eq_refl)); pose proof (total_nonneg es ltac:(auto)).
destruct K as [->|K]; [lra | pose proof (IH ltac:(auto) K P); lra].
Qed.

Lemma exponential_nonneg x : 0 <= exponential x.
Proof. destruct x; simpl; [left; apply exp_pos | lra]. Qed.

Lemma row_is_positive c l v axis k : argument_ok c l v -> rows_have_entries (typed c) l axis = true ->
  In k (places (typed c)) -> 0 < total (map (fun p => exponential (v p)) (row (dims (typed c)) axis k)).
Proof.
intros A R P; unfold rows_have_entries in R; apply andb_true_iff in R as [N0 R]; apply N.ltb_lt in N0.
set (s := dims (typed c)) in *; set (n := nth axis s 0%N) in *.
assert (len : length (row s axis k) = N.to_nat n) by (unfold row; now rewrite map_length, length_range).
assert (some : exists p x, In p (row s axis k) /\ v p = Some x).
{ destruct (mask l) as [written|] eqn:M.
  - rewrite forallb_forall in R; specialize (R k P); apply existsb_exists in R as [p [H U]].
    destruct A as [A _]; specialize (A p); destruct (v p) as [x|] eqn:E; [eauto|].
    rewrite A in U; discriminate.
  - destruct (row s axis k) as [|p rest] eqn:E; [simpl in len; lia|].
    destruct (no_mask _ _ _ A ltac:(unfold unmasked; now rewrite M) p) as [x [X _]]; exists p, x; simpl; auto. }
destruct some as [p [x [IN X]]]; apply total_positive with (e := exp x); [| |apply exp_pos].
- intros e H; apply in_map_iff in H as [q [<- _]]; apply exponential_nonneg.
- apply in_map_iff; exists p; rewrite X; auto.
Qed.

Lemma softmax_row_sound c l v axis k : argument_ok c l v -> rows_have_entries (typed c) l axis = true ->
  In k (places (typed c)) ->
  within (softmax_bounds (nth axis (dims (typed c)) 0 =? 1)%N (negb (unmasked l)))
    (nth (N.to_nat (along (dims (typed c)) axis k)) (map (fun p => exponential (v p)) (row (dims (typed c)) axis k)) 0 /
     total (map (fun p => exponential (v p)) (row (dims (typed c)) axis k))).
Proof.
intros A R P; pose proof (row_is_positive _ _ _ _ _ A R P) as positive_row.
unfold rows_have_entries in R; apply andb_true_iff in R as [N0 R]; apply N.ltb_lt in N0.
set (s := dims (typed c)) in *; set (n := nth axis s 0%N) in *.
assert (len : length (row s axis k) = N.to_nat n) by (unfold row; now rewrite map_length, length_range).
apply softmax_sound.
- intros e H; apply in_map_iff in H as [p [<- _]]; apply exponential_nonneg.
- exact positive_row.
- rewrite map_length, len; unfold along; fold n; destruct (wrap_cases n (nth axis (unravel s k) 0%N)) as [-> | H]; lia.
- intros H; apply N.eqb_eq in H; rewrite map_length, len, H; reflexivity.
- intros H _; apply N.eqb_neq in H; rewrite map_length, len; lia.
- intros U e H; apply in_map_iff in H as [q [<- _]]; apply negb_false_iff in U.
  destruct (no_mask _ _ _ A U q) as [y [-> _]]; apply exp_pos.
Qed.

(** What is subtracted from a whole row changes nothing: the writer of networks reads softmax (x - max x) as softmax x. *)
Theorem softmax_of_shifted c xs i : 0 < total (map exponential xs) ->
  let less := map (option_map (fun r => r - c)) xs in
  nth i (map exponential less) 0 / total (map exponential less) = nth i (map exponential xs) 0 / total (map exponential xs).
Proof.
intros P less; pose proof (exp_pos (- c)) as E.
assert (one : forall x, exponential (option_map (fun r => r - c) x) = exponential x * exp (- c)).
  intros [r|]; simpl; [unfold Rminus; apply exp_plus | ring].
assert (sum : forall ys, total (map exponential (map (option_map (fun r => r - c)) ys)) = total (map exponential ys) * exp (- c)).
  induction ys as [|y ys IH]; simpl; [ring | rewrite one, IH; ring].
assert (entry_ : nth i (map exponential less) 0 = nth i (map exponential xs) 0 * exp (- c)).
  unfold less; clear - one; revert i; induction xs as [|x xs IH]; intros [|i]; simpl; try ring; [apply one | apply IH].
unfold less at 2; rewrite entry_, sum; field; lra.
Qed.

(** ** One node, operation by operation *)
Lemma argument_nth cs ls vs c l v : arguments_ok cs ls vs -> argument_ok c l v ->
  forall i, argument_ok (nth i cs c) (nth i ls l) (nth i vs v).
Proof.
induction 1 as [|c' l' v' cs ls vs A _ IH]; intros H [|i]; simpl; trivial; now apply IH.
Qed.

Lemma hull_of_nth l ls i x : within (limits (nth i (l :: ls) l)) x -> within (hull_of (limits l) ls) x.
Proof.
intros H; apply hull_of_sound; destruct (nth_in_or_default i (l :: ls) l) as [[E|E]|E].
- left; now rewrite E.
- right; apply Exists_exists; eauto.
- left; now rewrite E in H.
Qed.

Lemma moved_sound m to cs vs same : fits (Moved m) (map typed cs) to = true -> Forall2 cell_ok cs vs ->
  state_ok to (derive (Moved m) to cs same) (fun k => meaning (Moved m) (map typed cs) to vs (wrap (size (dims to)) k)).
Proof.
intros F C; unfold derive; destruct (all_lines cs) as [ls|] eqn:L; [|exact I].
pose proof (arguments_are_ok _ _ _ L C) as A.
destruct A as [|c l v cs ls vs A1 A]; [exact I|].
unfold fits in F; apply andb_true_iff in F as [F _]; rewrite forallb_forall in F.
set (cs' := c :: cs) in *; set (ls' := l :: ls); set (vs' := v :: vs).
assert (kind_of : forall i, of_kind (typed (nth i cs' c)) = of_kind to).
  intros i; apply same_kind_eq, F, in_map; destruct (nth_in_or_default i cs' c) as [H|H]; [exact H|].
  rewrite H; now left.
assert (all : forall i, argument_ok (nth i cs' c) (nth i ls' l) (nth i vs' v)).
  apply argument_nth; [now constructor | exact A1].
destruct (forallb unmasked ls') eqn:U; simpl state_ok.
- apply (plain_wrapped to _ (fun k => meaning (Moved m) (map typed cs') to vs' k)); intros k _.
  unfold meaning; change (first_arg vs') with v; destruct (source m _ _ k) as [i p].
  assert (Ui : unmasked (nth i ls' l) = true).
    rewrite forallb_forall in U; destruct (nth_in_or_default i ls' l) as [H|H]; [now apply U|].
    rewrite H; apply U; now left.
  destruct (no_mask _ _ _ (all i) Ui p) as [x [X [W K]]]; exists x; split; [exact X|].
  split; [exact (hull_of_nth l ls i x W) | now rewrite <- (kind_of i)].
- apply (mask_ok to _ _ (fun k => meaning (Moved m) (map typed cs') to vs' k)); intros k.
  unfold meaning; change (first_arg vs') with v; change (hd no_cell cs') with c; destruct (source m _ _ k) as [i p].
  destruct (all i) as [E _]; specialize (E p); destruct (nth i vs' v p) as [x|]; [|exact E].
  destruct E as [W [K M]]; split; [exact (hull_of_nth l ls i x W)|]; split; [now rewrite <- (kind_of i) | exact M].
Qed.

(** Operations of one argument without a mask, whose entries are all within some bounds. *)
Lemma one_argument o to cs vs same (P : cell -> line -> status) :
  (forall c l v, argument_ok c l v -> cell_ok c v -> fits o [typed c] to = true ->
     state_ok to (P c l) (fun k => meaning o [typed c] to [v] (wrap (size (dims to)) k))) ->
  (forall cs ls, all_lines cs = Some ls -> derive o to cs same =
     match cs, ls with [c], [l] => P c l | _, _ => Unproved end) ->
  (forall cs, all_lines cs = None -> derive o to cs same = Unproved) ->
  fits o (map typed cs) to = true -> Forall2 cell_ok cs vs ->
  state_ok to (derive o to cs same) (fun k => meaning o (map typed cs) to vs (wrap (size (dims to)) k)).
Proof.
intros H D D' F C; destruct (all_lines cs) as [ls|] eqn:L; [rewrite (D cs ls L) | rewrite (D' cs L); exact I].
pose proof (arguments_are_ok _ _ _ L C) as A; clear L D D' C; revert F.
destruct A as [|c l v ? ? ? A1 A]; intros F; [exact I|]; revert F; destruct A; intros F; [|exact I].
apply H; [exact A1 | exact (proj2 A1) | exact F].
Qed.

Ltac derived_of := let xs := fresh in let ys := fresh in let L := fresh in
  intros xs ys L; unfold derive; rewrite L; destruct xs as [|? [|? ?]], ys as [|? [|? ?]]; reflexivity.
Ltac derived_none := let xs := fresh in let L := fresh in intros xs L; unfold derive; now rewrite L.
Ltac one_argument_ P := apply (one_argument _ _ _ _ _ P); [|derived_of | derived_none].

Lemma unary_ok u to cs vs same : fits (Unary u) (map typed cs) to = true -> Forall2 cell_ok cs vs ->
  state_ok to (derive (Unary u) to cs same) (fun k => meaning (Unary u) (map typed cs) to vs (wrap (size (dims to)) k)).
Proof.
one_argument_ (fun (c : cell) (l : line) => if unmasked l then proved (unary_limits u (of_kind (typed c)) (limits l))
  else match u with Exp => proved (Some (masked_exp_bounds (limits l))) | _ => Unproved end).
intros c l v A _ F; simpl in F; apply andb_true_iff in F as [_ F]; destruct (unmasked l) eqn:U.
- destruct (unary_limits u _ (limits l)) as [b|] eqn:E; [|exact I].
  apply (plain_wrapped to b (fun k => meaning (Unary u) [typed c] to [v] k)); intros k _.
  destruct (no_mask _ _ _ A U k) as [x [X [W K]]]; unfold meaning, first_arg; simpl; rewrite X.
  exists (unary_value u_ u x); split; [reflexivity|]; exact (unary_sound _ _ _ _ _ _ F E W K).
- destruct u; try exact I; simpl in F; kinds.
  apply (plain_wrapped to _ (fun k => meaning (Unary Exp) [typed c] to [v] k)); intros k _.
  match goal with H : of_kind to = Real |- _ => rewrite H end.
  destruct A as [A _]; specialize (A k); unfold meaning, first_arg; simpl; destruct (v k) as [x|].
    exists (exp x); split; [reflexivity|]; split; [apply masked_exp_sound; right; exists x; tauto | exact I].
  exists 0; split; [reflexivity|]; split; [apply masked_exp_sound; now left | exact I].
Qed.

Lemma sum_ok reduced keep to cs vs same : fits (Sum reduced keep) (map typed cs) to = true -> Forall2 cell_ok cs vs ->
  state_ok to (derive (Sum reduced keep) to cs same)
    (fun k => meaning (Sum reduced keep) (map typed cs) to vs (wrap (size (dims to)) k)).
Proof.
one_argument_ (fun (c : cell) (l : line) => if unmasked l
  then proved (Some (sum_bounds (Z.of_N (count (dims (typed c)) reduced)) (limits l))) else Unproved).
intros c l v A _ F; simpl in F; kinds; destruct (unmasked l) eqn:U; [|exact I].
apply (plain_wrapped to _ (fun k => meaning (Sum reduced keep) [typed c] to [v] k)); intros k _.
unfold meaning, first_arg, dims_of; simpl nth.
set (ks := map _ (group _ _ _ _)); destruct (numbers_ok _ _ _ ks A U) as [W K].
assert (len : Z.of_nat (length (numbers v ks)) = Z.of_N (count (dims (typed c)) reduced)).
  unfold numbers, ks; rewrite !map_length, length_group; lia.
eexists; split; [reflexivity|]; split; [rewrite <- len; now apply sum_sound|].
match goal with H : of_kind _ = of_kind to |- _ => rewrite <- H end; now apply total_kind.
Qed.

Lemma mean_ok reduced keep to cs vs same : fits (Mean reduced keep) (map typed cs) to = true -> Forall2 cell_ok cs vs ->
  state_ok to (derive (Mean reduced keep) to cs same)
    (fun k => meaning (Mean reduced keep) (map typed cs) to vs (wrap (size (dims to)) k)).
Proof.
one_argument_ (fun (c : cell) (l : line) => if unmasked l then proved (Some (limits l)) else Unproved).
intros c l v A _ F; simpl in F; unfold is_real in F; kinds; destruct (unmasked l) eqn:U; [|exact I].
apply (plain_wrapped to _ (fun k => meaning (Mean reduced keep) [typed c] to [v] k)); intros k _.
unfold meaning, first_arg, dims_of; simpl nth.
set (ks := map _ (group _ _ _ _)); destruct (numbers_ok _ _ _ ks A U) as [W _].
eexists; split; [reflexivity|]; split; [|match goal with H : of_kind to = Real |- _ => rewrite H end; exact I].
apply mean_sound; [|exact W]; intros E; apply (f_equal (@length R)) in E; revert E.
unfold numbers, ks; rewrite !map_length, length_group; cbn [length].
match goal with H : (0 <? count _ _)%N = true |- _ => apply N.ltb_lt in H end; lia.
Qed.

Lemma cumulative_ok axis to cs vs same : fits (CumulativeSum axis) (map typed cs) to = true -> Forall2 cell_ok cs vs ->
  state_ok to (derive (CumulativeSum axis) to cs same)
    (fun k => meaning (CumulativeSum axis) (map typed cs) to vs (wrap (size (dims to)) k)).
Proof.
one_argument_ (fun (c : cell) (l : line) => if unmasked l && (0 <? nth axis (dims (typed c)) 0)%N
  then proved (Some (partial_sum_bounds (Z.of_N (nth axis (dims (typed c)) 0%N)) (limits l))) else Unproved).
intros c l v A _ F; simpl in F; kinds; destruct (unmasked l) eqn:U; [|exact I].
destruct (0 <? _)%N eqn:N0; [|exact I]; apply N.ltb_lt in N0.
apply (plain_wrapped to _ (fun k => meaning (CumulativeSum axis) [typed c] to [v] k)); intros k _.
unfold meaning, first_arg, dims_of; simpl nth.
set (ks := firstn _ _); destruct (numbers_ok _ _ _ ks A U) as [W K].
assert (len : length ks = Nat.min (S (N.to_nat (along (dims (typed c)) axis k))) (N.to_nat (nth axis (dims (typed c)) 0%N))).
  unfold ks; rewrite firstn_length; unfold row; now rewrite map_length, length_range.
eexists; split; [reflexivity|]; split.
- apply partial_sum_sound; [|unfold numbers; rewrite map_length, len; lia | exact W].
  intros E; apply (f_equal (@length R)) in E; revert E; unfold numbers; rewrite map_length, len; cbn [length]; lia.
- match goal with H : of_kind _ = of_kind to |- _ => rewrite <- H end; now apply total_kind.
Qed.

Lemma softmax_ok axis to cs vs same : fits (Softmax axis) (map typed cs) to = true -> Forall2 cell_ok cs vs ->
  state_ok to (derive (Softmax axis) to cs same)
    (fun k => meaning (Softmax axis) (map typed cs) to vs (wrap (size (dims to)) k)).
Proof.
one_argument_ (fun (c : cell) (l : line) => if rows_have_entries (typed c) l axis
  then proved (Some (softmax_bounds (nth axis (dims (typed c)) 0 =? 1)%N (negb (unmasked l)))) else Unproved).
intros c l v A _ F; simpl in F; unfold is_real, same_dims in F; kinds.
destruct (list_eq_dec N.eq_dec (dims (typed c)) (dims to)) as [E|]; [|discriminate].
destruct (rows_have_entries _ l axis) eqn:R; [|exact I].
apply (plain_wrapped to _ (fun k => meaning (Softmax axis) [typed c] to [v] k)); intros k P.
eexists; split; [reflexivity|]; split; [|match goal with H : of_kind to = Real |- _ => rewrite H end; exact I].
unfold first_arg, dims_of; simpl nth; apply softmax_row_sound; trivial.
unfold places in *; now rewrite E.
Qed.

Lemma log_sum_exp_ok axis to cs vs same : fits (LogSumExp axis) (map typed cs) to = true -> Forall2 cell_ok cs vs ->
  state_ok to (derive (LogSumExp axis) to cs same)
    (fun k => meaning (LogSumExp axis) (map typed cs) to vs (wrap (size (dims to)) k)).
Proof.
one_argument_ (fun (c : cell) (l : line) => if rows_have_entries (typed c) l axis then proved (Some everything) else Unproved).
intros c l v A _ F; simpl in F; unfold is_real in F; kinds; destruct (rows_have_entries _ l axis); [|exact I].
apply (plain_wrapped to _ (fun k => meaning (LogSumExp axis) [typed c] to [v] k)); intros k _.
eexists; split; [reflexivity|]; split; [apply everything_sound|].
match goal with H : of_kind to = Real |- _ => rewrite H end; exact I.
Qed.

Lemma layer_norm_ok axes epsilon to cs vs same : fits (LayerNorm axes epsilon) (map typed cs) to = true ->
  Forall2 cell_ok cs vs -> state_ok to (derive (LayerNorm axes epsilon) to cs same)
    (fun k => meaning (LayerNorm axes epsilon) (map typed cs) to vs (wrap (size (dims to)) k)).
Proof.
intros F C; unfold derive; destruct (all_lines cs) as [ls|]; [|exact I].
destruct (forallb unmasked ls && qlt 0 epsilon); [|destruct cs, ls; exact I].
assert (R : of_kind to = Real).
  destruct cs as [|c cs]; [discriminate|]; simpl in F; unfold is_real in F; kinds; assumption.
enough (state_ok to (proved (Some everything))
  (fun k => meaning (LayerNorm axes epsilon) (map typed cs) to vs (wrap (size (dims to)) k))) by (destruct cs, ls; exact H).
apply (plain_wrapped to _ (fun k => meaning (LayerNorm axes epsilon) (map typed cs) to vs k)); intros k _.
eexists; split; [reflexivity|]; split; [apply everything_sound | rewrite R; exact I].
Qed.

Lemma put_in_order_all (P : R -> Prop) x xs : P x -> Forall P xs -> Forall P (put_in_order x xs).
Proof.
intros X H; revert x X; induction H as [|y ys Y H IH]; intros x X; simpl; constructor; auto.
- unfold Rmax; destruct (Rle_dec x y); assumption.
- apply IH; unfold Rmin; destruct (Rle_dec x y); assumption.
Qed.

Lemma ordered_all (P : R -> Prop) xs : Forall P xs -> Forall P (ordered xs).
Proof. induction 1; simpl; [constructor | now apply put_in_order_all]. Qed.

Lemma length_ordered xs : length (ordered xs) = length xs.
Proof.
assert (E : forall ys x, length (put_in_order x ys) = S (length ys)) by (induction ys; intros; simpl; auto).
induction xs as [|x xs IH]; simpl; [reflexivity | now rewrite E, IH].
Qed.

Lemma ordered_nth (P : R -> Prop) xs i : Forall P xs -> (i < length xs)%nat -> P (nth i (ordered xs) 0).
Proof.
intros H L; apply ordered_all in H; rewrite Forall_forall in H; apply H, nth_In; now rewrite length_ordered.
Qed.

Lemma wrap_below n p : (0 < n)%N -> (wrap n p < n)%N.
Proof. pose proof (wrap_cases n p); lia. Qed.

Lemma picked_ok o to cs vs same : (exists a b, o = Largest a b) \/ (exists a b, o = TopValues a b) ->
  fits o (map typed cs) to = true -> Forall2 cell_ok cs vs ->
  state_ok to (derive o to cs same) (fun k => meaning o (map typed cs) to vs (wrap (size (dims to)) k)).
Proof.
intros [[a [b ->]]|[a [b ->]]]; one_argument_ (fun (c : cell) (l : line) => if unmasked l then proved (Some (limits l)) else Unproved);
  intros c l v A _ F; simpl in F; unfold is_real in F; kinds; (destruct (unmasked l) eqn:U; [|exact I]);
  match goal with H : Nat.ltb _ _ = true |- _ => apply Nat.ltb_lt in H; rename H into AX end.
- apply (plain_wrapped to _ (fun k => meaning (Largest a b) [typed c] to [v] k)); intros k _.
  eexists; split; [reflexivity|]; split; [|match goal with H : of_kind to = Real |- _ => rewrite H end; exact I].
  apply ordered_nth; [exact (proj1 (numbers_ok _ _ _ _ A U))|].
  unfold numbers, first_arg, dims_of; simpl nth; rewrite !map_length, length_group, count_marks by exact AX.
  match goal with H : (0 <? _)%N = true |- _ => apply N.ltb_lt in H end; lia.
- apply (plain_wrapped to _ (fun k => meaning (TopValues a b) [typed c] to [v] k)); intros k _.
  eexists; split; [reflexivity|]; split; [|match goal with H : of_kind to = Real |- _ => rewrite H end; exact I].
  apply ordered_nth; [exact (proj1 (numbers_ok _ _ _ _ A U))|].
  unfold numbers, first_arg, dims_of, row; simpl nth; rewrite !map_length, length_range.
  repeat match goal with H : (_ <=? _)%N = true |- _ => apply N.leb_le in H end.
  match goal with |- context [wrap ?n ?i] => pose proof (wrap_below n i) end; lia.
Qed.

Lemma wrapped_place_bounds n p : (0 < n)%N ->
  within (Bounds (Some (0%Q, false)) (Some (inject_Z (Z.of_N n - 1), false))) (IZR (Z.of_N (wrap n p))).
Proof.
intros H; pose proof (wrap_cases n p) as W.
split; cbn [low high above below]; rational; apply IZR_le; lia.
Qed.

Lemma top_indices_ok axis n to cs vs same : fits (TopIndices axis n) (map typed cs) to = true -> Forall2 cell_ok cs vs ->
  state_ok to (derive (TopIndices axis n) to cs same)
    (fun k => meaning (TopIndices axis n) (map typed cs) to vs (wrap (size (dims to)) k)).
Proof.
one_argument_ (fun (c : cell) (l : line) => if unmasked l && (0 <? nth axis (dims (typed c)) 0)%N
  then proved (Some (Bounds (Some (0%Q, false)) (Some (inject_Z (Z.of_N (nth axis (dims (typed c)) 0%N) - 1), false))))
  else Unproved).
intros c l v A _ F; simpl in F; kinds; destruct (unmasked l); [|exact I].
destruct (0 <? _)%N eqn:N0; [|exact I]; apply N.ltb_lt in N0.
apply (plain_wrapped to _ (fun k => meaning (TopIndices axis n) [typed c] to [v] k)); intros k _.
unfold meaning, dims_of; simpl nth.
eexists; split; [reflexivity|]; split; [now apply wrapped_place_bounds|].
match goal with H : of_kind to = Whole |- _ => rewrite H end; simpl; eauto.
Qed.

Lemma wholly_none t l v : wholly_masked t l = true -> entry_ok t l v -> forall p, v p = None.
Proof.
intros W E p; unfold wholly_masked in W; rewrite forallb_forall in W.
pose proof (W _ (wrap_place t p)) as M; pose proof (E p) as Ep.
destruct (v p) as [x|]; trivial; destruct Ep as [_ [_ Ep]]; exfalso; revert M Ep; unfold masked.
destruct (mask l); [|congruence]; unfold wrap at 1.
destruct (wrap (size (dims t)) p <? size (dims t))%N eqn:Q; [congruence|].
unfold wrap in *; destruct (p <? size (dims t))%N eqn:Q'; congruence.
Qed.

(** Two and three arguments. *)
Lemma two_arguments (Q_ : list cell -> list line -> list tensor -> Prop) cs ls vs :
  Q_ [] [] [] -> (forall c l v, argument_ok c l v -> Q_ [c] [l] [v]) ->
  (forall c l v c' l' v', argument_ok c l v -> argument_ok c' l' v' -> Q_ [c; c'] [l; l'] [v; v']) ->
  (forall c l v c' l' v' c'' l'' v'', argument_ok c l v -> argument_ok c' l' v' -> argument_ok c'' l'' v'' ->
     Q_ [c; c'; c''] [l; l'; l''] [v; v'; v'']) ->
  (forall c l v c' l' v' c'' l'' v'' c3 l3 v3 cs ls vs,
     Q_ (c :: c' :: c'' :: c3 :: cs) (l :: l' :: l'' :: l3 :: ls) (v :: v' :: v'' :: v3 :: vs)) ->
  arguments_ok cs ls vs -> Q_ cs ls vs.
Proof.
intros Q0 Q1 Q2 Q3 Q4 A.
destruct A as [|c l v cs ls vs A1 A]; [exact Q0|]; destruct A as [|c' l' v' cs ls vs A2 A]; [now apply Q1|].
destruct A as [|c'' l'' v'' cs ls vs A3 A]; [now apply Q2|]; destruct A as [|c3 l3 v3 cs ls vs A4 A]; [now apply Q3|].
apply Q4.
Qed.

Lemma binary_ok b to cs vs same : fits (Binary b) (map typed cs) to = true -> Forall2 cell_ok cs vs ->
  (same = true -> exists c v, cs = [c; c] /\ vs = [v; v]) ->
  state_ok to (derive (Binary b) to cs same) (fun k => meaning (Binary b) (map typed cs) to vs (wrap (size (dims to)) k)).
Proof.
intros F C S; unfold derive; destruct (all_lines cs) as [ls|] eqn:L; [|exact I].
pose proof (arguments_are_ok _ _ _ L C) as A; clear L C; revert F S.
apply (two_arguments (fun cs ls vs => fits (Binary b) (map typed cs) to = true -> _ -> state_ok to
  (match cs, ls with [c; c'], [l; l'] => _ | _, _ => Unproved end) _) cs ls vs); try (intros; exact I); [|exact A].
clear cs ls vs A; intros c l v c' l' v' A A' F S; simpl in F; apply andb_true_iff in F as [_ F].
set (s := dims (typed c)); set (s' := dims (typed c')); set (d := dims to).
assert (S' : same = true -> v = v' /\ s = s').
  intros E; destruct (S E) as [c0 [v0 [E1 E2]]]; injection E1 as -> ->; injection E2 as -> ->; auto.
destruct (unmasked l && unmasked l') eqn:U.
- apply andb_true_iff in U as [U U'].
  destruct (binary_limits b same (limits l) (limits l')) as [B|] eqn:E; [|exact I].
  apply (plain_wrapped to B (fun k => meaning (Binary b) [typed c; typed c'] to [v; v'] k)); intros k _.
  unfold meaning, first_arg, second_arg, dims_of; simpl nth; fold s s' d.
  destruct (no_mask _ _ _ A U (broadcast_place s d k)) as [x [X [W K]]].
  destruct (no_mask _ _ _ A' U' (broadcast_place s' d k)) as [y [Y [W' K']]]; rewrite X, Y.
  exists (binary_value b x y); split; [destruct b; reflexivity|].
  apply (binary_sound _ _ _ _ _ _ _ _ x y F E); trivial.
  intros Q; destruct (S' Q) as [-> E']; rewrite E' in X; rewrite X in Y; now injection Y.
- destruct A as [A _]; destruct A' as [A' _].
  assert (um : forall c l v p, entry_ok (typed c) l v -> unmasked l = true -> exists x, v p = Some x /\ within (limits l) x).
    intros c0 l0 v0 p H0 U0; destruct (unmasked_entry _ _ _ U0 H0 p) as [x [? [? _]]]; eauto.
  destruct b; try exact I; simpl in F; kinds.
  + (* Add *)
    apply (mask_ok to _ _ (fun k => meaning (Binary Add) [typed c; typed c'] to [v; v'] k)); intros k.
    unfold meaning, first_arg, second_arg, dims_of; simpl nth; fold s s' d.
    pose proof (A (broadcast_place s d k)) as P1; pose proof (A' (broadcast_place s' d k)) as P2.
    destruct (v _) as [x|]; simpl; [|now rewrite P1].
    destruct (v' _) as [y|]; simpl; [|rewrite P2; apply orb_true_r].
    destruct P1 as [W1 [K1 M1]], P2 as [W2 [K2 M2]]; rewrite M1, M2.
    split; [now apply add_sound|]; split; [|reflexivity].
    match goal with H : of_kind (typed c) = of_kind to |- _ => rewrite <- H end.
    match goal with H : of_kind (typed c) = of_kind (typed c') |- _ => rewrite <- H in K2 end.
    destruct (of_kind (typed c)); try discriminate; simpl in *; trivial.
    destruct K1 as [z ->], K2 as [z' ->]; exists (z + z')%Z; now rewrite plus_IZR.
  + (* Subtract *)
    destruct (unmasked l') eqn:U'; [|exact I].
    apply (mask_ok to _ _ (fun k => meaning (Binary Subtract) [typed c; typed c'] to [v; v'] k)); intros k.
    unfold meaning, first_arg, second_arg, dims_of; simpl nth; fold s s' d.
    pose proof (A (broadcast_place s d k)) as P1.
    destruct (v _) as [x|]; simpl; [|exact P1].
    destruct (unmasked_entry _ _ _ U' A' (broadcast_place s' d k)) as [y [-> [W2 K2]]]; simpl.
    destruct P1 as [W1 [K1 M1]]; split; [now apply sub_sound|]; split; [|exact M1].
    match goal with H : of_kind (typed c) = of_kind to |- _ => rewrite <- H end.
    match goal with H : of_kind (typed c) = of_kind (typed c') |- _ => rewrite <- H in K2 end.
    destruct (of_kind (typed c)); try discriminate; simpl in *; trivial.
    destruct K1 as [z ->], K2 as [z' ->]; exists (z - z')%Z; now rewrite minus_IZR.
  + (* Maximum *)
    assert (real : of_kind to = Real) by assumption.
    destruct (wholly_masked (typed c') l') eqn:M1; [|destruct (wholly_masked (typed c) l) eqn:M2; [|exact I]].
    * apply (mask_ok to _ _ (fun k => meaning (Binary Maximum) [typed c; typed c'] to [v; v'] k)); intros k.
      unfold meaning, first_arg, second_arg, dims_of; simpl nth; fold s s' d; rewrite (wholly_none _ _ _ M1 A').
      pose proof (A (broadcast_place s d k)) as P1; destruct (v _) as [x|]; simpl; [|exact P1].
      rewrite real; destruct P1 as [W [_ M]]; simpl; auto.
    * apply (mask_ok to _ _ (fun k => meaning (Binary Maximum) [typed c; typed c'] to [v; v'] k)); intros k.
      unfold meaning, first_arg, second_arg, dims_of; simpl nth; fold s s' d; rewrite (wholly_none _ _ _ M2 A).
      pose proof (A' (broadcast_place s' d k)) as P1; destruct (v' _) as [x|]; simpl; [|exact P1].
      rewrite real; destruct P1 as [W [_ M]]; simpl; auto.
Qed.

Lemma matmul_ok to cs vs same : fits MatMul (map typed cs) to = true -> Forall2 cell_ok cs vs ->
  state_ok to (derive MatMul to cs same) (fun k => meaning MatMul (map typed cs) to vs (wrap (size (dims to)) k)).
Proof.
intros F C; unfold derive; destruct (all_lines cs) as [ls|] eqn:L; [|exact I].
pose proof (arguments_are_ok _ _ _ L C) as A; clear L C; revert F.
apply (two_arguments (fun cs ls vs => fits MatMul (map typed cs) to = true -> state_ok to
  (match cs, ls with [c; _], [l; l'] => _ | _, _ => Unproved end) _) cs ls vs); try (intros; exact I); [|exact A].
clear cs ls vs A; intros c l v c' l' v' A A' F; simpl in F; unfold is_real in F; kinds.
destruct (unmasked l && unmasked l') eqn:U; [|exact I]; apply andb_true_iff in U as [U U'].
apply (plain_wrapped to _ (fun k => meaning MatMul [typed c; typed c'] to [v; v'] k)); intros k _.
unfold meaning, first_arg, second_arg, dims_of; simpl nth.
eexists; split; [reflexivity|]; split; [|match goal with H : of_kind to = Real |- _ => rewrite H end; exact I].
match goal with |- within _ (total ?xs) => set (terms := xs) end.
assert (len : Z.of_nat (length terms) = Z.of_N (last (dims (typed c)) 0%N)).
  unfold terms; rewrite map_length, length_range; lia.
rewrite <- len; apply sum_sound; unfold terms; apply Forall_map, Forall_forall; intros j _.
match goal with |- context [number (v ?p) * number (v' ?q)] =>
  destruct (no_mask _ _ _ A U p) as [x [-> [W _]]]; destruct (no_mask _ _ _ A' U' q) as [y [-> [W' _]]] end.
now apply mul_sound.
Qed.

Lemma indexed_ok o to cs vs same : (exists a, o = Take a) \/ (exists a, o = Gather a) ->
  fits o (map typed cs) to = true -> Forall2 cell_ok cs vs ->
  state_ok to (derive o to cs same) (fun k => meaning o (map typed cs) to vs (wrap (size (dims to)) k)).
Proof.
intros O F C; unfold derive; destruct (all_lines cs) as [ls|] eqn:L; [|destruct O as [[a ->]|[a ->]]; exact I].
pose proof (arguments_are_ok _ _ _ L C) as A; clear L C; revert F.
destruct O as [[a ->]|[a ->]].
- apply (two_arguments (fun cs ls vs => fits (Take a) (map typed cs) to = true -> state_ok to
    (match cs, ls with [c; _], [l; i] => _ | _, _ => Unproved end) _) cs ls vs); try (intros; exact I); [|exact A].
  clear cs ls vs A; intros c l v c' l' v' A A' F; simpl in F; kinds.
  destruct (unmasked l) eqn:U; [|exact I].
  match goal with |- context [if ?e then _ else _] => destruct e | _ => idtac end; try exact I.
  apply (plain_wrapped to _ (fun k => meaning (Take a) [typed c; typed c'] to [v; v'] k)); intros k _.
  unfold meaning, first_arg; simpl nth; match goal with |- context [v ?p] => destruct (no_mask _ _ _ A U p) as [x [X [W K]]] end.
  exists x; split; [exact X|]; split; [exact W|]; match goal with H : of_kind _ = of_kind to |- _ => now rewrite <- H end.
- apply (two_arguments (fun cs ls vs => fits (Gather a) (map typed cs) to = true -> state_ok to
    (match cs, ls with [c; _], [l; i] => _ | _, _ => Unproved end) _) cs ls vs); try (intros; exact I); [|exact A].
  clear cs ls vs A; intros c l v c' l' v' A A' F; simpl in F; kinds.
  destruct (unmasked l) eqn:U; [|exact I].
  match goal with |- context [if ?e then _ else _] => destruct e | _ => idtac end; try exact I.
  apply (plain_wrapped to _ (fun k => meaning (Gather a) [typed c; typed c'] to [v; v'] k)); intros k _.
  unfold meaning, first_arg; simpl nth; match goal with |- context [v ?p] => destruct (no_mask _ _ _ A U p) as [x [X [W K]]] end.
  exists x; split; [exact X|]; split; [exact W|]; match goal with H : of_kind _ = of_kind to |- _ => now rewrite <- H end.
Qed.

Lemma scatter_ok axis to cs vs same : fits (Scatter axis) (map typed cs) to = true -> Forall2 cell_ok cs vs ->
  state_ok to (derive (Scatter axis) to cs same)
    (fun k => meaning (Scatter axis) (map typed cs) to vs (wrap (size (dims to)) k)).
Proof.
intros F C; unfold derive; destruct (all_lines cs) as [ls|] eqn:L; [|exact I].
pose proof (arguments_are_ok _ _ _ L C) as A; clear L C; revert F.
apply (two_arguments (fun cs ls vs => fits (Scatter axis) (map typed cs) to = true -> state_ok to
  (match cs, ls with [c; _; _], [l; i; w] => _ | _, _ => Unproved end) _) cs ls vs); try (intros; exact I); [|exact A].
clear cs ls vs A; intros c l v c' l' v' c'' l'' v'' A A' A'' F; simpl in F; kinds.
destruct (unmasked l) eqn:U; [|exact I]; destruct (unmasked l'); [|exact I]; destruct (unmasked l'') eqn:U''; [|exact I].
match goal with |- context [if ?e then _ else _] => destruct e | _ => idtac end; try exact I.
apply (plain_wrapped to _ (fun k => meaning (Scatter axis) [typed c; typed c'; typed c''] to [v; v'; v''] k)); intros k _.
unfold meaning, first_arg, third_arg; simpl nth; destruct (writer _ _ _ _ _) as [p|].
- destruct (no_mask _ _ _ A'' U'' p) as [x [X [W K]]]; exists x; split; [exact X|]; split; [apply hull_sound; now right|].
  match goal with H : of_kind (typed c'') = of_kind to |- _ => now rewrite <- H end.
- destruct (no_mask _ _ _ A U k) as [x [X [W K]]]; exists x; split; [exact X|]; split; [apply hull_sound; now left|].
  match goal with H : of_kind (typed c) = of_kind to |- _ => now rewrite <- H end.
Qed.

Lemma select_ok to cs vs same : fits Select (map typed cs) to = true -> Forall2 cell_ok cs vs ->
  state_ok to (derive Select to cs same) (fun k => meaning Select (map typed cs) to vs (wrap (size (dims to)) k)).
Proof.
intros F C; unfold derive; destruct (all_lines cs) as [ls|] eqn:L; [|exact I].
pose proof (arguments_are_ok _ _ _ L C) as A; clear L C; revert F.
apply (two_arguments (fun cs ls vs => fits Select (map typed cs) to = true -> state_ok to
  (match cs, ls with [c; x; y], [lc; l; l'] => _ | _, _ => Unproved end) _) cs ls vs); try (intros; exact I); [|exact A].
clear cs ls vs A; intros c lc v c' l' v' c'' l'' v'' A A' A'' F; simpl in F; kinds.
set (s := dims (typed c)); set (s' := dims (typed c')); set (s'' := dims (typed c'')); set (d := dims to).
destruct (unmasked l' && unmasked l'') eqn:U.
- apply andb_true_iff in U as [U' U''].
  apply (plain_wrapped to _ (fun k => meaning Select [typed c; typed c'; typed c''] to [v; v'; v''] k)); intros k _.
  unfold meaning, first_arg, second_arg, third_arg, dims_of; simpl nth; fold s s' s'' d; destruct (is_true _).
  + destruct (no_mask _ _ _ A' U' (broadcast_place s' d k)) as [x [X [W K]]]; exists x; split; [exact X|].
    split; [apply hull_sound; now left|]; match goal with H : of_kind (typed c') = of_kind to |- _ => now rewrite <- H end.
  + destruct (no_mask _ _ _ A'' U'' (broadcast_place s'' d k)) as [x [X [W K]]]; exists x; split; [exact X|].
    split; [apply hull_sound; now right|]; match goal with H : of_kind (typed c'') = of_kind to |- _ => now rewrite <- H end.
- destruct (known c) as [f|] eqn:E; [|exact I].
  apply (mask_ok to _ _ (fun k => meaning Select [typed c; typed c'; typed c''] to [v; v'; v''] k)); intros k.
  unfold meaning, first_arg, second_arg, third_arg, dims_of; simpl nth; fold s s' s'' d.
  destruct A as [_ [_ A]]; rewrite (A f E); simpl number; rewrite is_true_truth.
  destruct (f (broadcast_place s d k)).
  + destruct A' as [A' _]; specialize (A' (broadcast_place s' d k)); destruct (v' _) as [x|]; [|exact A'].
    destruct A' as [W [K M]]; split; [apply hull_sound; now left|]; split; [|exact M].
    match goal with H : of_kind (typed c') = of_kind to |- _ => now rewrite <- H end.
  + destruct A'' as [A'' _]; specialize (A'' (broadcast_place s'' d k)); destruct (v'' _) as [x|]; [|exact A''].
    destruct A'' as [W [K M]]; split; [apply hull_sound; now right|]; split; [|exact M].
    match goal with H : of_kind (typed c'') = of_kind to |- _ => now rewrite <- H end.
Qed.

Theorem derive_sound o to cs vs (same : bool) : fits o (map typed cs) to = true -> Forall2 cell_ok cs vs ->
  (same = true -> exists c v, cs = [c; c] /\ vs = [v; v]) ->
  state_ok to (derive o to cs same) (fun k => meaning o (map typed cs) to vs (wrap (size (dims to)) k)).
Proof.
intros F C S; destruct o.
- destruct cs; [|discriminate]; simpl in F; kinds.
  apply (plain_wrapped to _ (fun k => meaning (Tokens vocabulary) [] to vs k)); intros k _.
  eexists; split; [reflexivity|]; pose proof (prompt_in_vocabulary vocabulary k) as [A B]; split.
    split; cbn [low high above below]; rational; apply IZR_le; lia.
  match goal with H : of_kind to = Whole |- _ => rewrite H end; simpl; eauto.
- destruct cs; [|discriminate]; simpl in F; unfold is_real in F; kinds.
  apply (plain_wrapped to _ (fun k => meaning (Coordinate name) [] to vs k)); intros k _.
  eexists; split; [reflexivity|]; split; [apply everything_sound|].
  match goal with H : of_kind to = Real |- _ => rewrite H end; exact I.
- destruct cs; [|discriminate]; simpl in F; unfold is_real in F; kinds.
  apply (plain_wrapped to _ (fun k => meaning (Given name) [] to vs k)); intros k _.
  eexists; split; [reflexivity|]; split; [apply everything_sound|].
  match goal with H : of_kind to = Real |- _ => rewrite H end; exact I.
- destruct cs; [|discriminate]; apply constant_sound.
- now apply moved_sound.
- now apply unary_ok.
- now apply binary_ok.
- now apply sum_ok.
- now apply mean_ok.
- now apply cumulative_ok.
- now apply softmax_ok.
- now apply log_sum_exp_ok.
- now apply layer_norm_ok.
- apply picked_ok; eauto.
- apply picked_ok; eauto.
- now apply top_indices_ok.
- now apply matmul_ok.
- apply indexed_ok; eauto.
- apply indexed_ok; eauto.
- now apply scatter_ok.
- now apply select_ok.
- unfold derive; destruct (all_lines cs); exact I.
Qed.

(** ** The whole network *)
Lemma accept_sound t derived c s v : accept derived c = Some s -> state_ok t derived v -> state_ok t s v.
Proof.
destruct c as [|b m]; simpl; [intros [= <-]; simpl; trivial|].
destruct derived as [|l]; [discriminate|]; destruct (weaker b (limits l)) eqn:W; [|discriminate].
destruct (Bool.eqb _ _); [|discriminate]; intros [= <-] H k; specialize (H k).
destruct (v k) as [x|]; [|exact H]; destruct H as [A [K M]]; split; [exact (weaker_sound _ _ _ W A) | auto].
Qed.

Lemma known_sound n f ts vs : known_of n = Some f -> forall k, tensor_of n ts vs k = Some (truth (f k)).
Proof.
unfold known_of, Meaning.tensor_of; destruct (operation n); try discriminate.
destruct (_ && _) eqn:E; [|discriminate]; intros [= <-] k; simpl meaning.
apply andb_true_iff in E as [_ E]; rewrite forallb_forall in E.
pose proof (entry_in default entries (wrap (size (dims (result n))) k)) as IN; specialize (E _ IN).
destruct (entry default (tabulated entries) _) as [q|]; [|discriminate]; simpl in E |- *.
apply orb_true_iff in E as [E|E]; pose proof (Qeq_eqR _ _ (proj1 (Qeq_bool_iff _ _) E)) as R; rewrite R.
- rewrite E; simpl; rational; reflexivity.
- destruct (Qeq_bool q 0) eqn:Z; [|simpl; rational; reflexivity].
  apply Qeq_bool_iff, Qeq_eqR in Z; rational; lra.
Qed.

Definition all_ok (cells : list cell) (types : list type) (tensors : list tensor) : Prop :=
  types = map typed cells /\ Forall2 cell_ok cells tensors.

Lemma no_cell_ok : cell_ok no_cell no_tensor.
Proof. split; [exact I | discriminate]. Qed.

Lemma nth_ok cells tensors : Forall2 cell_ok cells tensors -> forall j,
  cell_ok (nth j cells no_cell) (nth j tensors no_tensor).
Proof.
induction 1 as [|c v cells tensors H _ IH]; intros [|j]; simpl; trivial; apply no_cell_ok.
Qed.

Lemma pick_ok cells tensors n : Forall2 cell_ok cells tensors ->
  Forall2 cell_ok (pick no_cell cells n) (pick no_tensor tensors n).
Proof.
intros H; unfold pick; induction (arguments n) as [|j js IH]; simpl; constructor; [now apply nth_ok | exact IH].
Qed.

Lemma pick_types cells n : map typed (pick no_cell cells n) = pick no_type (map typed cells) n.
Proof.
unfold pick; rewrite map_map; apply map_ext; intros j; change no_type with (typed no_cell); now rewrite map_nth.
Qed.

Lemma step_sound n c cells types tensors cell : all_ok cells types tensors -> step n c cells = inl cell ->
  cell_ok cell (tensor_of n (pick no_type types n) (pick no_tensor tensors n)) /\ typed cell = result n.
Proof.
intros [-> H] S; unfold step in S; rewrite <- pick_types.
destruct (fits _ _ _) eqn:F; [|discriminate]; destruct (accept _ c) as [s|] eqn:A; [|discriminate].
injection S as <-; split; [|reflexivity]; split; simpl.
- apply (accept_sound _ _ _ _ _ A), derive_sound; [exact F | now apply pick_ok|].
  unfold same_arguments; intros Q; destruct (arguments n) as [|j [|j' [|]]] eqn:E; try discriminate.
  apply Nat.eqb_eq in Q; subst j'; unfold pick; rewrite E; simpl; eauto.
- intros f K k; exact (known_sound n f _ _ K k).
Qed.

Theorem check_sound_from g : forall cells types tensors i cells', all_ok cells types tensors ->
  check g cells i = inl cells' ->
  Forall2 cell_ok cells' (values (map fst g) types tensors).
Proof.
induction g as [|[n c] g IH]; intros cells types tensors i cells' H C; simpl in C |- *.
  injection C as <-; apply H.
destruct (step n c cells) as [cell|] eqn:S; [|discriminate].
destruct (step_sound _ _ _ _ _ _ H S) as [K T].
apply (IH _ _ _ _ _) with (2 := C); destruct H as [-> H]; split; [simpl; now rewrite T | now constructor].
Qed.

(** If the checker accepts, then for these parameters and this prompt every entry of every node of which something is
    claimed lies within the claimed bounds, and exactly the entries named by the masks are -oo. *)
Theorem check_sound g cells : check g [] 0%N = inl cells -> Forall2 cell_ok cells (values (map fst g) [] []).
Proof. apply check_sound_from; split; [reflexivity | constructor]. Qed.


(** What every claim of the file then says of its node: all entries are within the claimed bounds, and where no mask is
    claimed no entry is -oo. *)
Definition claim_true (c : claim) (v : tensor) : Prop :=
  match c with
  | Nothing => True
  | Claimed b has_mask => forall k, match v k with Some x => within b x | None => has_mask = true end
  end.

Definition keeps (c : cell) (p : node * claim) : Prop :=
  match snd p with
  | Nothing => True
  | Claimed b has_mask => exists m, state c = Proved (Line b m) /\ has_mask = negb (unmasked (Line b m))
  end.

Lemma check_keeps g : forall cells before i cells', Forall2 keeps cells before -> check g cells i = inl cells' ->
  Forall2 keeps cells' (rev g ++ before).
Proof.
induction g as [|[n c] g IH]; intros cells before i cells' H C; simpl in C |- *; [now injection C as <-|].
destruct (step n c cells) as [new|] eqn:S; [|discriminate].
rewrite <- app_assoc; apply (IH _ ((n, c) :: before) _ _) with (2 := C); constructor; [|exact H].
unfold step in S; destruct (fits _ _ _); [|discriminate]; destruct (accept _ c) as [s|] eqn:A; [|discriminate].
injection S as <-; unfold keeps; simpl; destruct c as [|b m]; [exact I|]; simpl in A.
destruct (derive _ _ _ _) as [|l]; [discriminate|]; destruct (weaker b (limits l)); [|discriminate].
destruct (Bool.eqb m (negb (unmasked l))) eqn:E; [|discriminate]; injection A as <-.
exists (mask l); split; [reflexivity | now apply Bool.eqb_prop].
Qed.

Theorem claims_hold g cells : check g [] 0%N = inl cells ->
  Forall2 (fun p v => claim_true (snd p) v) (rev g) (values (map fst g) [] []).
Proof.
intros C; pose proof (check_sound g cells C) as S; pose proof (check_keeps g [] [] 0%N cells (Forall2_nil _) C) as K.
rewrite app_nil_r in K; revert K S; generalize (values (map fst g) [] []) as vs; generalize (rev g) as ps; clear C.
induction cells as [|c cells IH]; intros ps vs K S; inversion K as [|? p ? ps' P K']; subst;
  inversion S as [|? v ? vs' V S']; subst; constructor; [|now apply IH].
unfold claim_true; unfold keeps in P; destruct (snd p) as [|b m]; [exact I|]; destruct P as [w [E ->]].
destruct V as [V _]; unfold state_ok in V; rewrite E in V; intros k; specialize (V k).
destruct (v k) as [x|]; [now destruct V|].
unfold masked in V; simpl in V; unfold unmasked; simpl; now destruct w.
Qed.

End Soundness.
