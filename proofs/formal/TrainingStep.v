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
