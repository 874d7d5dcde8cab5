(** * Bounds of elementary functions that the kernel's table states as numbers: docs/theory.md, "Bounds"

    Everything here is about real numbers alone.  The least values of silu, mish and the tanh form of gelu are bounded by
    tangents of the exponential; erf and the gelu made of it are not in Coq's library of reals, and what is used of them
    stands as a hypothesis where it is used ([Intervals.special]). *)

From Coq Require Import Reals Lra Psatz.
Local Open Scope R_scope.

Lemma exp_ge x : 1 + x <= exp x.
Proof. destruct (Req_dec x 0) as [->|N]; [rewrite exp_0; lra | pose proof (exp_ineq1 x N); lra]. Qed.

Lemma exp_le x y : x <= y -> exp x <= exp y.
Proof. intros [lt| ->]; [left; now apply exp_increasing | apply Rle_refl]. Qed.

Lemma exp_le_1 x : x <= 0 -> exp x <= 1.
Proof. rewrite <- exp_0; apply exp_le. Qed.

Lemma exp_lt_1 x : x < 0 -> exp x < 1.
Proof. rewrite <- exp_0; apply exp_increasing. Qed.

Lemma exp_gt_1 x : 0 < x -> 1 < exp x.
Proof. pose proof (exp_ge x); lra. Qed.

(** The tangent at [at_], with any lower bound [k] of its value there. *)
Lemma exp_tangent at_ k x : 0 < k -> k <= exp at_ -> k * (1 + (x - at_)) <= exp x.
Proof.
intros k0 le; replace x with (at_ + (x - at_)) at 2 by lra; rewrite exp_plus.
pose proof (exp_ge (x - at_)); pose proof (exp_pos (x - at_)); nra.
Qed.

(** exp (32 x) >= (1 + x)^32 for x >= 0, by five squarings. *)
Lemma exp_32 x : 0 <= x -> (1 + x) ^ 32 <= exp (32 * x).
Proof.
intros x0; assert (H : forall y c, 0 <= c -> c <= exp y -> c ^ 2 <= exp (2 * y)).
  intros y c c0 le; replace (2 * y) with (y + y) by lra; rewrite exp_plus; simpl; nra.
replace (32 * x) with (2 * (2 * (2 * (2 * (2 * x))))) by lra.
replace ((1 + x) ^ 32) with ((((((1 + x) ^ 2) ^ 2) ^ 2) ^ 2) ^ 2) by ring.
repeat (apply H; [repeat apply pow_le; lra |]).
apply exp_ge.
Qed.

Lemma exp_9_8 : 3 <= exp (9 / 8).
Proof. replace (9 / 8) with (32 * (9 / 256)) by lra; apply Rle_trans with (2 := exp_32 (9 / 256) ltac:(lra)); lra. Qed.

Lemma exp_2 : 69 / 10 <= exp 2.
Proof. replace 2 with (32 * (1 / 16)) by lra; apply Rle_trans with (2 := exp_32 (1 / 16) ltac:(lra)); lra. Qed.

Lemma exp_5_4 : 34 / 10 <= exp (5 / 4).
Proof.
replace (5 / 4) with (32 * (5 / 128)) by lra; apply Rle_trans with (2 := exp_32 (5 / 128) ltac:(lra)); lra.
Qed.

Lemma exp_6_5 : 32 / 10 <= exp (6 / 5).
Proof.
replace (6 / 5) with (32 * (3 / 80)) by lra; apply Rle_trans with (2 := exp_32 (3 / 80) ltac:(lra)); lra.
Qed.

(** ** The sigmoid and what is made of it *)
Definition sigmoid (x : R) : R := / (1 + exp (- x)).

Lemma sigmoid_range x : 0 < sigmoid x < 1.
Proof.
unfold sigmoid; pose proof (exp_pos (- x)); split; [apply Rinv_0_lt_compat; lra|].
rewrite <- Rinv_1; apply Rinv_lt_contravar; lra.
Qed.

Definition silu (x : R) : R := x * sigmoid x.

Lemma silu_least x : - (3 / 10) < silu x.
Proof.
unfold silu, sigmoid; pose proof (exp_pos (- x)) as E.
pose proof (exp_tangent (5 / 4) (34 / 10) (- x) ltac:(lra) exp_5_4) as T.
apply Rmult_lt_reg_r with (r := 1 + exp (- x)); [lra|].
rewrite Rmult_assoc, Rinv_l by lra; nra.
Qed.

Lemma silu_sign x : 0 <= x -> 0 <= silu x.
Proof. intros; unfold silu; pose proof (sigmoid_range x); nra. Qed.

Lemma silu_pos x : 0 < x -> 0 < silu x.
Proof. intros; unfold silu; pose proof (sigmoid_range x); nra. Qed.

(** x tanh (log (1 + e^x)), written out. *)
Definition mish (x : R) : R := x * (((1 + exp x) ^ 2 - 1) / ((1 + exp x) ^ 2 + 1)).

Lemma mish_factor x : 0 < ((1 + exp x) ^ 2 - 1) / ((1 + exp x) ^ 2 + 1).
Proof. pose proof (exp_pos x); apply Rdiv_lt_0_compat; simpl; nra. Qed.

Lemma mish_least x : - (1 / 3) < mish x.
Proof.
unfold mish; pose proof (exp_pos x) as E; destruct (Rle_or_lt 0 x) as [ge|lt].
  pose proof (mish_factor x); nra.
(* With y = - x and F = e^y: 3 y (1 + 2 F) < 1 + 2 F + 2 F^2, as y <= F / (32/10) + 1/5. *)
pose proof (exp_pos (- x)) as F; pose proof (exp_tangent (6 / 5) (32 / 10) (- x) ltac:(lra) exp_6_5) as T.
assert (EF : exp x * exp (- x) = 1) by (rewrite <- exp_plus, Rplus_opp_r; apply exp_0).
set (e := exp x) in *; set (f := exp (- x)) in *.
assert (D : 0 < (1 + e) ^ 2 + 1) by (simpl; nra).
apply Rmult_lt_reg_r with (r := (1 + e) ^ 2 + 1); [exact D|].
unfold Rdiv at 2; rewrite <- Rmult_assoc, Rmult_assoc with (r3 := (1 + e) ^ 2 + 1), Rinv_l by lra; rewrite Rmult_1_r.
assert (main : 3 * (- x) * (1 + 2 * f) < 1 + 2 * f + 2 * f * f).
  assert (- x <= f * (10 / 32) + 1 / 5) by lra.
  apply Rle_lt_trans with (3 * (f * (10 / 32) + 1 / 5) * (1 + 2 * f)); nra.
assert (- x * ((1 + e) ^ 2 - 1) * (f * f) = - x * (1 + 2 * f)) as eq1.
  replace (- x * ((1 + e) ^ 2 - 1) * (f * f)) with (- x * ((e * f) * (e * f) + 2 * (e * f) * f)) by ring.
  rewrite EF; ring.
assert (((1 + e) ^ 2 + 1) * (f * f) = 1 + 2 * f + 2 * f * f) as eq2.
  replace (((1 + e) ^ 2 + 1) * (f * f)) with ((e * f) * (e * f) + 2 * (e * f) * f + 2 * f * f) by ring.
  rewrite EF; ring.
assert (0 < f * f) by nra.
apply Rmult_lt_reg_r with (r := f * f); [assumption|].
replace (x * ((1 + e) ^ 2 - 1) * (f * f)) with (- (- x * ((1 + e) ^ 2 - 1) * (f * f))) by ring.
replace (- (1 / 3) * ((1 + e) ^ 2 + 1) * (f * f)) with (- (1 / 3) * (((1 + e) ^ 2 + 1) * (f * f))) by ring.
rewrite eq1, eq2; lra.
Qed.

(** x / 2 (1 + tanh (c (x + 0.044715 x^3))) with c = sqrt (2 / pi); of c only that 2 c >= 3/2 is used. *)
Definition tanh_gelu (c x : R) : R := x * sigmoid (2 * (c * (x + 44715 / 1000000 * x ^ 3))).

Lemma tanh_gelu_least c x : 3 / 2 <= 2 * c -> - (1 / 5) < tanh_gelu c x.
Proof.
intros c1; unfold tanh_gelu; destruct (Rle_or_lt 0 x) as [ge|lt].
  pose proof (sigmoid_range (2 * (c * (x + 44715 / 1000000 * x ^ 3)))); nra.
set (y := - x); assert (y0 : 0 < y) by (unfold y; lra).
unfold sigmoid; set (E := exp _).
assert (big : exp (3 / 2 * y) <= E).
  unfold E; apply exp_le; unfold y; simpl.
  assert (3 / 2 * - x <= 2 * c * - x) by nra.
  assert (0 <= c * (- (x * (x * (x * 1))))) by (assert (0 <= - (x * (x * (x * 1)))) by nra; nra).
  nra.
pose proof (exp_tangent (9 / 8) 3 (3 / 2 * y) ltac:(lra) exp_9_8) as T1.
pose proof (exp_tangent 2 (69 / 10) (3 / 2 * y) ltac:(lra) exp_2) as T2.
assert (5 * y < 1 + E) by (destruct (Rle_or_lt y (6 / 5)); lra).
assert (0 < E) by (unfold E; apply exp_pos).
apply Rmult_lt_reg_r with (r := 1 + E); [lra|].
rewrite Rmult_assoc, Rinv_l by lra; unfold y in *; lra.
Qed.

(** ** Softplus, tanh *)
Lemma softplus_pos b x : 0 < b -> 0 < / b * ln (1 + exp (b * x)).
Proof.
intros b0; pose proof (exp_pos (b * x)) as E; apply Rmult_lt_0_compat; [now apply Rinv_0_lt_compat|].
rewrite <- ln_1; apply ln_increasing; lra.
Qed.

(** tanh x = 2 sigmoid (2 x) - 1. *)
Definition tanh_ (x : R) : R := 2 * sigmoid (2 * x) - 1.

Lemma tanh_is x : tanh_ x = tanh x.
Proof.
unfold tanh_, sigmoid, tanh, sinh, cosh.
pose proof (exp_pos x); pose proof (exp_pos (- x)).
assert (E : exp x * exp (- x) = 1) by (rewrite <- exp_plus, Rplus_opp_r; apply exp_0).
replace (- (2 * x)) with (- x + - x) by lra; rewrite exp_plus.
set (e := exp x) in *; set (f := exp (- x)) in *.
assert (1 + f * f <> 0) by nra; assert (e + f <> 0) by lra.
field_simplify_eq; [|split; lra].
nra.
Qed.

Lemma tanh_range x : -1 < tanh x < 1.
Proof. rewrite <- tanh_is; unfold tanh_; pose proof (sigmoid_range (2 * x)); lra. Qed.

Lemma sigmoid_half x : 0 <= x -> 1 / 2 <= sigmoid x.
Proof.
intros; unfold sigmoid; pose proof (exp_le_1 (- x) ltac:(lra)); pose proof (exp_pos (- x)).
replace (1 / 2) with (/ 2) by lra; apply Rinv_le_contravar; lra.
Qed.

Lemma sigmoid_half_lt x : 0 < x -> 1 / 2 < sigmoid x.
Proof.
intros; unfold sigmoid; pose proof (exp_lt_1 (- x) ltac:(lra)); pose proof (exp_pos (- x)).
replace (1 / 2) with (/ 2) by lra; apply Rinv_lt_contravar; nra.
Qed.

Lemma sigmoid_opp x : sigmoid (- x) = 1 - sigmoid x.
Proof.
unfold sigmoid; rewrite Ropp_involutive; pose proof (exp_pos x); pose proof (exp_pos (- x)).
assert (E : exp x * exp (- x) = 1) by (rewrite <- exp_plus, Rplus_opp_r; apply exp_0).
field_simplify_eq; [nra | split; lra].
Qed.

(** The constant of the tanh form: sqrt (2 / pi) >= 3/4, as pi <= 4 (1 - 1/3 + 1/5 - 1/7 + 1/9). *)
Lemma tanh_gelu_constant : 3 / 2 <= 2 * sqrt (2 / PI).
Proof.
pose proof (PI_ineq 2) as [_ le]; unfold tg_alt, PI_tg in le; simpl in le.
pose proof PI_RGT_0 as pos.
assert (PI <= 32 / 9) by lra.
assert (9 / 16 <= 2 / PI).
  apply Rmult_le_reg_r with (r := PI); [lra|]; unfold Rdiv at 2; rewrite Rmult_assoc, Rinv_l by lra; lra.
assert (sqrt ((3 / 4) * (3 / 4)) <= sqrt (2 / PI)) as le' by (apply sqrt_le_1; lra).
rewrite sqrt_square in le' by lra; lra.
Qed.
