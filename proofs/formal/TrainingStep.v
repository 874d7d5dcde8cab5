(** * The determinant of one gradient step at zero: arXiv 2510.15511, Theorem 2.3; docs/training-step.md

    At theta = 0 every second derivative vanishes but those of the block (U, beta_f), d^2 L / dU[v,i] dbeta[i] = w[v]
    (the gate lemma of docs/training-step.md; that the captured network has this Hessian is what `sipit prove training-step`
    computes). *)

From mathcomp Require Import all_ssreflect all_algebra zify ring.

Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.

Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Determinant.

Variables (F : comRingType).

(** det (I, B; C, I) = det (I - C B) for any two matrices. *)
Lemma det_gate m d (B : 'M[F]_(m, d)) (C : 'M[F]_(d, m)) : \det (block_mx 1%:M B C 1%:M) = \det (1%:M - C *m B).
Proof.
have eq : block_mx 1%:M B C 1%:M *m block_mx 1%:M (- B) 0 1%:M = block_mx 1%:M 0 C (1%:M - C *m B).
  by rewrite mulmx_block !mulmx1 !mul1mx !mulmx0 !addr0 mulmxN addNr addrC.
have := congr1 determinant eq; by rewrite det_mulmx det_ublock det_lblock !det1 !mul1r mulr1.
Qed.

(** [n] tokens, width [d], [q] further parameters; [w] = 1/n - p.  [gate w] is I_d (x) w^T: row [j] is non-zero at the
    entries (j, v) of U only. *)
Variables (n d q : nat) (w : 'I_n -> F).

Definition gate : 'M[F]_(d, d * n) := \matrix_j mxvec (\matrix_(i, v) ((i == j)%:R * w v)).

Definition norm2 : F := \sum_v w v ^+ 2.

Lemma gate_gram : gate *m gate^T = norm2%:M.
Proof.
apply/matrixP => j k; rewrite !mxE (reindex _ (curry_mxvec_bij _ _)) /=.
rewrite (eq_bigr (fun p : 'I_d * 'I_n => ((p.1 == j)%:R * w p.2) * ((p.1 == k)%:R * w p.2))) => [|[i v] _]; last first.
  by rewrite !mxE /= !mxvecE !mxE.
rewrite -(pair_bigA _ (fun i v => ((i == j)%:R * w v) * ((i == k)%:R * w v))) /= (bigD1 j) //=.
rewrite [X in _ + X]big1 ?addr0 => [|i /negPf ne_ij]; last first.
  by rewrite big1 // => v _; rewrite ne_ij !mul0r.
rewrite eqxx /norm2 -sumrMnl; apply: eq_bigr => v _; rewrite mul1r.
by case: (j == k); rewrite ?mul1r ?mulr1n // mul0r mulr0 mulr0n.
Qed.

(** The Hessian at zero, all parameters: first U, then beta_f, then the [q] others. *)
Definition hessian : 'M[F]_(d * n + d + q) := block_mx (block_mx 0 gate^T gate 0) 0 0 0.

(** det D phi(0) = det (I - eta H) = (1 - eta^2 |w|^2)^d, for all n, d, q, w and eta (any commutative ring). *)
Theorem training_step_det (eta : F) : \det (1%:M - eta *: hessian) = (1 - eta ^+ 2 * norm2) ^+ d.
Proof.
rewrite /hessian !scale_block_mx !scaler0 (scalar_mx_block (d * n + d) q) (scalar_mx_block (d * n) d).
rewrite opp_block_mx add_block_mx !oppr0 !addr0 det_ublock det1 mulr1.
rewrite opp_block_mx add_block_mx !oppr0 !addr0 !add0r det_gate.
rewrite mulmxN mulNmx opprK -scalemxAl -scalemxAr gate_gram scalerA scale_scalar_mx.
by rewrite -raddfB /= det_scalar expr2.
Qed.

End Determinant.

(** With weight decay on all parameters (docs/training-step.md, "Rules"): the factor c = 1 - eta lambda, if it is not zero.  For n >= 1 the
    right side is c^(p - 2d) (c^2 - eta^2 |w|^2)^d with p = d n + d + q. *)
Theorem weight_decay_det (F : fieldType) n d q (w : 'I_n -> F) (c eta : F) : c != 0 ->
  \det (c%:M - eta *: hessian d q w) = c ^+ (d * n + d + q) * (1 - (eta / c) ^+ 2 * norm2 w) ^+ d.
Proof.
move=> c0; rewrite -(training_step_det d q) -detZ scalerBr scalerA mulrC divfK //.
by rewrite scale_scalar_mx mulr1.
Qed.

(** ** A base point: equal embedding rows, all else zero (docs/training-step.md, "No rate is exceptional")

    The second derivatives are there w[v] between U[v,i] and beta[i] and w[v] x[i] between U[v,i] and gamma[i], x the row as the
    final norm makes it; `sipit prove training-step` computes that on the captured network. *)
Section BasePoint.

Variables (F : fieldType) (n d q : nat) (w : 'I_n -> F) (x : 'I_d -> F).

Lemma det_swap m k (B : 'M[F]_(m, k)) (C : 'M[F]_(k, m)) : \det (1%:M - B *m C) = \det (1%:M - C *m B).
Proof.
have eq : block_mx 1%:M B C 1%:M *m block_mx 1%:M 0 (- C) 1%:M = block_mx (1%:M - B *m C) B 0 1%:M.
  by rewrite mulmx_block !mulmx1 !mul1mx !mulmx0 !add0r mulmxN subrr.
by have := congr1 determinant eq; rewrite det_mulmx det_lblock det_ublock !det1 !mulr1 det_gate => <-.
Qed.

Definition scaled : 'M[F]_d := diag_mx (\row_i x i).
Definition both : 'M[F]_(d + d, d) := col_mx 1%:M scaled.

(** All parameters: first U, then beta_f and gamma_f, then the [q] others. *)
Definition base_hessian : 'M[F]_(d * n + (d + d) + q) :=
  block_mx (block_mx 0 (both *m gate d w)^T (both *m gate d w) 0) 0 0 0.

Lemma det_diagonal (a : 'I_d -> F) : \det (diag_mx (\row_i a i)) = \prod_i a i.
Proof. by rewrite det_diag; apply: eq_bigr => i _; rewrite mxE. Qed.

Theorem base_point_det (eta : F) :
  \det (1%:M - eta *: base_hessian) = \prod_i (1 - eta ^+ 2 * norm2 w * (1 + x i ^+ 2)).
Proof.
rewrite /base_hessian !scale_block_mx !scaler0 (scalar_mx_block (d * n + (d + d)) q) (scalar_mx_block (d * n) (d + d)).
rewrite opp_block_mx add_block_mx !oppr0 !addr0 det_ublock det1 mulr1.
rewrite opp_block_mx add_block_mx !oppr0 !addr0 !add0r det_gate.
rewrite mulmxN mulNmx opprK -scalemxAl -scalemxAr scalerA trmx_mul -mulmxA (mulmxA (gate d w)) gate_gram.
rewrite mul_scalar_mx -!scalemxAr scalerA scalemxAl det_swap -scalemxAr.
have -> : both^T *m both = 1%:M + scaled *m scaled.
  by rewrite /both tr_col_mx mul_row_col trmx1 mulmx1 /scaled tr_diag_mx.
have -> : 1%:M - (eta * eta * norm2 w) *: (1%:M + scaled *m scaled) =
          diag_mx (\row_i (1 - eta ^+ 2 * norm2 w * (1 + x i ^+ 2))) :> 'M[F]_d.
  rewrite /scaled mulmx_diag; apply/matrixP => i j; rewrite !mxE -expr2.
  by case: (i == j); rewrite ?mulr1n ?mulr0n ?expr2 // addr0 mulr0 subr0.
exact: det_diagonal.
Qed.

(** At every rate one of the two points serves, if no coordinate of the row vanishes. *)
Theorem no_rate_is_exceptional (eta : F) : (forall i, x i != 0) ->
  \det (1%:M - eta *: hessian d q w) != 0 \/ \det (1%:M - eta *: base_hessian) != 0.
Proof.
move=> x0; rewrite training_step_det base_point_det; case: (eqVneq (eta ^+ 2 * norm2 w) 1) => [->|ne].
  by right; rewrite prodf_seq_neq0; apply/allP => i _; rewrite mul1r opprD addrA subrr add0r oppr_eq0 expf_neq0.
by left; rewrite expf_neq0 // subr_eq0 eq_sym.
Qed.

(** With weight decay on all parameters, c = 1 - eta lambda not being zero. *)
Theorem no_rate_is_exceptional_with_decay (c eta : F) : c != 0 -> (forall i, x i != 0) ->
  \det (c%:M - eta *: hessian d q w) != 0 \/ \det (c%:M - eta *: base_hessian) != 0.
Proof.
move=> c0 x0; have both_sides m (H : 'M[F]_m) : \det (c%:M - eta *: H) = c ^+ m * \det (1%:M - (eta / c) *: H).
  by rewrite -detZ scalerBr scalerA mulrC divfK // scale_scalar_mx mulr1.
by rewrite !both_sides !mulf_eq0 !negb_or !expf_neq0 //=; exact: no_rate_is_exceptional.
Qed.

End BasePoint.

(** ** A step whose gradient is cut to a given length (docs/training-step.md, "Clipping by the global norm")

    [u] is the gradient divided by its length: the derivative of the step is I - s (I - u u^T) H with s the rate times the
    threshold over the length. Nothing is asked of I - s H, which may be singular. *)

Lemma det_rank_one_regular (R : comRingType) p (A : 'M[R]_p) (u : 'cV_p) (v : 'rV_p) : GRing.lreg (\det A) ->
  \det (A + u *m v) = \det A + (v *m \adj A *m u) 0 0.
Proof.
move=> regular; pose edge : 'M_(p + 1) := block_mx A (- u) v 1%:M.
have <- : \det edge = \det (A + u *m v).
  have : edge *m block_mx 1%:M 0 (- v) 1%:M = block_mx (A + u *m v) (- u) 0 1%:M.
    by rewrite mulmx_block !mulmx1 !mulmx0 !add0r !mul1mx mulNmx mulmxN opprK subrr.
  by move/(congr1 determinant); rewrite det_mulmx det_lblock det_ublock !det1 !mulr1.
apply: regular; have : edge *m block_mx 1%:M (\adj A *m u) 0 (\det A)%:M =
    block_mx A 0 v (v *m \adj A *m u + (\det A)%:M).
  by rewrite mulmx_block !mulmx1 !mulmx0 !addr0 mul1mx !mulmxA mul_mx_adj mul_scalar_mx mul_mx_scalar scalerN subrr.
move/(congr1 determinant); rewrite det_mulmx det_ublock det_lblock det1 mul1r det_scalar1 det_mx11 mulrC => ->.
by rewrite !mxE eqxx mulr1n addrC.
Qed.

(** Over any ring: where det A may be a divisor of zero, that of A + X is none, and X = 0 gives it back. *)
Lemma det_rank_one (R : comRingType) p (A : 'M[R]_p) (u : 'cV_p) (v : 'rV_p) :
  \det (A + u *m v) = \det A + (v *m \adj A *m u) 0 0.
Proof.
pose over m n : 'M[R]_(m, n) -> 'M[{poly R}]_(m, n) := map_mx (@polyC R).
have back m n (B : 'M[R]_(m, n)) : map_mx (horner_eval 0) (over m n B) = B.
  by apply/matrixP => i j; rewrite !mxE /horner_eval hornerC.
have at0 : map_mx (horner_eval 0) (char_poly_mx (- A)) = A.
  by apply/matrixP => i j; rewrite !mxE /horner_eval !hornerE hornerMn hornerX mul0rn sub0r opprK.
have regular : GRing.lreg (\det (char_poly_mx (- A))).
  by apply: lreg_lead; rewrite (monicP (char_poly_monic (- A))); exact: lreg1.
have := congr1 (horner_eval 0) (det_rank_one_regular (over _ _ u) (over _ _ v) regular).
rewrite rmorphD -!det_map_mx map_mxD map_mxM at0 !back => ->; congr (_ + _).
transitivity ((map_mx (horner_eval 0) (over _ _ v *m \adj (char_poly_mx (- A)) *m over _ _ u)) 0 0).
  by rewrite [RHS]mxE.
by rewrite !map_mxM map_mx_adj at0 !back.
Qed.

Theorem clipped_by_norm_det (R : comRingType) p (H : 'M[R]_p) (u : 'cV_p) (s : R) : u^T *m u = 1%:M ->
  \det (1%:M - s *: ((1%:M - u *m u^T) *m H)) = (u^T *m \adj (1%:M - s *: H) *m u) 0 0.
Proof.
move=> unit_u; set A := 1%:M - s *: H.
have sH : s *: H = 1%:M - A by rewrite /A opprB addrCA subrr addr0.
have -> : 1%:M - s *: ((1%:M - u *m u^T) *m H) = A + u *m (u^T - u^T *m A).
  rewrite mulmxBl mul1mx scalerBr opprB -mulmxA !scalemxAr sH mulmxBr mulmx1.
  by rewrite opprB addrC -addrA subrK addrC.
rewrite det_rank_one mulmxBl -(mulmxA _ A) mul_mx_adj mul_mx_scalar mulmxBl -scalemxAl unit_u.
by rewrite [X in _ + X]mxE [X in _ + (_ + X)]mxE [X in _ + (_ - X)]mxE [X in _ * X]mxE mulr1 addrCA subrr addr0.
Qed.

(** ** The second derivatives at zero: the gate lemma (docs/training-step.md)

    To second order in the parameters: [I] is an ideal in which all parameters lie, and products of three of its members
    vanish. Logits are U (beta + gamma x), x the state after the final norm; being zero where all parameters are, it lies in
    [I], whatever blocks made it. The loss is a function of the logits that is w . z to first order. *)
Section GateLemma.

Variables (F : fieldType) (A : comRingType) (embed : {rmorphism F -> A}) (I : pred A).
Hypothesis three : forall a b c, I a -> I b -> I c -> a * b * c = 0.
Hypothesis closed : forall a b, I a -> I (a * b).

Variables (n d : nat) (U : 'I_n -> 'I_d -> A) (beta gamma x : 'I_d -> A) (w : 'I_n -> F).
Hypotheses (small_U : forall v i, I (U v i)) (small_beta : forall i, I (beta i)) (small_gamma : forall i, I (gamma i)).
Hypothesis small_x : forall i, I (x i).

Definition logit (v : 'I_n) : A := \sum_i U v i * (beta i + gamma i * x i).

Variables (loss : ('I_n -> A) -> A) (constant : A).
(** To first order, if all products of two logits vanish. *)
Hypothesis first_order : forall z, (forall v v', z v * z v' = 0) -> loss z = constant + \sum_v embed (w v) * z v.

Lemma logitE v : logit v = \sum_i U v i * beta i.
Proof. by apply: eq_bigr => i _; rewrite mulrDr mulrA three // addr0. Qed.

Theorem gate_lemma : loss logit = constant + \sum_v \sum_i embed (w v) * (U v i * beta i).
Proof.
rewrite first_order => [|v v'].
  by congr (_ + _); apply: eq_bigr => v _; rewrite logitE mulr_sumr.
rewrite !logitE mulr_suml big1 // => i _; rewrite mulr_sumr big1 // => j _.
by rewrite mulrA three //; exact: closed.
Qed.

End GateLemma.

(** ** For which rates it is not zero (docs/training-step.md, "For which rates") *)
Section Rates.

Variables (F : realFieldType) (n d q : nat) (p : 'I_n -> F).

(** A target distribution; for a batch, the mean of the targets, which is one too ([mean_in_simplex]). *)
Definition simplex : Prop := (forall v, 0 <= p v) /\ \sum_v p v = 1.

Definition gate_vector (v : 'I_n) : F := n%:R^-1 - p v.

Lemma vocabulary_gt0 : simplex -> (0 < n)%N.
Proof. by case=> _; case: n p => // p0; rewrite big_ord0 => /esym/eqP; rewrite oner_eq0. Qed.

(** |w|^2 = |p|^2 - 1/n. *)
Lemma norm2_gate : simplex -> norm2 gate_vector = \sum_v p v ^+ 2 - n%:R^-1.
Proof.
move=> simp; have n0 := vocabulary_gt0 simp; case: simp => _ sum1.
rewrite /norm2 (eq_bigr (fun v => n%:R^-1 ^+ 2 + (p v ^+ 2 - 2%:R * n%:R^-1 * p v))) => [|v _]; last first.
  by rewrite /gate_vector; ring.
have eq_n : (n%:R^-1 ^+ 2) *+ n = n%:R^-1 :> F.
  by rewrite -[LHS]mulr_natl expr2 mulrA divff ?mul1r // pnatr_eq0 -lt0n.
rewrite big_split /= sumr_const card_ord eq_n sumrB -mulr_sumr sum1.
by move: (\sum_v _) n%:R^-1 => P a; ring.
Qed.

(** ... <= 1 - 1/n < 1. *)
Lemma norm2_gate_lt1 : simplex -> 0 <= norm2 gate_vector < 1.
Proof.
move=> simp; have n0 := vocabulary_gt0 simp; apply/andP; split.
  by rewrite sumr_ge0 // => v _; exact: sqr_ge0.
rewrite norm2_gate // ltr_subl_addr (@le_lt_trans _ _ 1) ?ltr_addl ?invr_gt0 ?ltr0n //.
case: simp => p0 sum1; rewrite -[X in _ <= X]sum1 ler_sum // => v _; rewrite expr2 ler_pimulr //.
by rewrite -sum1 (bigD1 v) //= ler_addl sumr_ge0.
Qed.

(** Every rate in (0, 1] (indeed [-1, 1]), not only the published (0, 1): the determinant is positive. *)
Theorem training_step_regular (eta : F) : simplex -> 0 <= eta <= 1 ->
  0 < \det (1%:M - eta *: hessian d q gate_vector).
Proof.
move=> /norm2_gate_lt1/andP[w0 w1] /andP[eta0 eta1]; rewrite training_step_det exprn_gt0 // subr_gt0.
by rewrite (le_lt_trans _ w1) // ler_pimull // exprn_ile1.
Qed.

(** Beyond 1: zero at eta = 1/|w| only. *)
Theorem training_step_singular (eta : F) : (0 < d)%N ->
  \det (1%:M - eta *: hessian d q gate_vector) = 0 <-> eta ^+ 2 * norm2 gate_vector = 1.
Proof.
move=> d0; rewrite training_step_det; split=> [/eqP|->]; last by rewrite subrr expr0n eqn0Ngt d0.
by rewrite expf_eq0 d0 subr_eq0 => /eqP.
Qed.

End Rates.

(** Means of target distributions are target distributions, so the same holds for batches (arXiv 2510.15511, 2.3.1). *)
Theorem mean_in_simplex (F : realFieldType) n (b : nat) (p : 'I_b.+1 -> 'I_n -> F) : (forall k, simplex (p k)) ->
  simplex (fun v => b.+1%:R^-1 * \sum_k p k v).
Proof.
move=> simp; split=> [v|]; first by rewrite mulr_ge0 ?invr_ge0 ?ler0n // sumr_ge0 // => k _; case: (simp k).
rewrite -mulr_sumr exchange_big /= (eq_bigr (fun=> 1)) => [|k _]; last by case: (simp k).
by rewrite sumr_const card_ord mulVf // pnatr_eq0.
Qed.
