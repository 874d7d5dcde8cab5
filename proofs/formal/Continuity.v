(** * The rules of the textbook hold of continuity, so that what is accepted is continuous, with nothing assumed of analysis

    [Smoothness.textbook] asks closure rules of all classes at once.  For "continuous" in place of every class they are
    proved here, of functions of all parameters: so the rules contradict nothing, and a network in whose classes no jump
    occurs is continuous on the whole parameter space.  Of erf its continuity is asked, as Coq's library lacks it. *)

From Coq Require Import Reals QArith Qreals NArith ZArith List Lra Lia.
From Sipit Require Import Elementary Intervals Tensors Meaning Checker Soundness Classes Smoothness.
Import ListNotations.
Local Open Scope R_scope.

(** All parameters within delta; a network reads finitely many, and of these it is the usual neighbourhood. *)
Definition near (delta : R) (t t' : point) : Prop := forall n k, Rabs (t' n k - t n k) < delta.

Definition continuous_at (f : function) (t : point) : Prop :=
  forall epsilon, 0 < epsilon -> exists delta, 0 < delta /\ forall t', near delta t t' -> Rabs (f t' - f t) < epsilon.
Definition continuous (f : function) : Prop := forall t, continuous_at f t.

Lemma continuous_composed (phi : R -> R) f : (forall t, continuity_pt phi (f t)) -> continuous f -> continuous (fun t => phi (f t)).
Proof.
intros P F t e E; destruct (P t e E) as [a [A K]]; destruct (F t a A) as [d [D N]]; exists d; split; [exact D|].
intros t' T; specialize (N t' T); destruct (Req_dec (f t) (f t')) as [<-|Q].
  unfold Rminus; rewrite Rplus_opp_r, Rabs_R0; exact E.
apply (K (f t')); split; [split; [exact I | exact Q] | exact N].
Qed.

Lemma continuous_sum f g : continuous f -> continuous g -> continuous (fun t => f t + g t).
Proof.
intros F G t e E; destruct (F t (e / 2) ltac:(lra)) as [d [D N]], (G t (e / 2) ltac:(lra)) as [d' [D' N']].
exists (Rmin d d'); split; [now apply Rmin_glb_lt|]; intros t' T.
assert (A : Rabs (f t' - f t) < e / 2) by (apply N; intros n k; pose proof (T n k); pose proof (Rmin_l d d'); lra).
assert (B : Rabs (g t' - g t) < e / 2) by (apply N'; intros n k; pose proof (T n k); pose proof (Rmin_r d d'); lra).
replace (f t' + g t' - (f t + g t)) with ((f t' - f t) + (g t' - g t)) by ring.
pose proof (Rabs_triang (f t' - f t) (g t' - g t)); lra.
Qed.

Lemma continuous_scaled c f : continuous f -> continuous (fun t => c * f t).
Proof.
apply (continuous_composed (fun x => c * x)); intros t; apply derivable_continuous_pt.
apply derivable_pt_scal, derivable_pt_id.
Qed.

Lemma continuous_square f : continuous f -> continuous (fun t => f t * f t).
Proof.
apply (continuous_composed (fun x => x * x)); intros t; apply derivable_continuous_pt.
apply derivable_pt_mult; apply derivable_pt_id.
Qed.

(** f g = ((f + g)^2 - (f - g)^2) / 4. *)
Lemma continuous_product f g : continuous f -> continuous g -> continuous (fun t => f t * g t).
Proof.
intros F G; apply (same_function _ _ (fun t => / 4 * ((f t + g t) * (f t + g t)) +
  - / 4 * ((f t + -1 * g t) * (f t + -1 * g t)))); [intros t; field|].
apply continuous_sum; apply continuous_scaled, continuous_square, continuous_sum; trivial; now apply continuous_scaled.
Qed.

Lemma continuous_fixed c : continuous (fun _ => c).
Proof. intros t e E; exists 1; split; [lra|]; intros t' _; unfold Rminus; now rewrite Rplus_opp_r, Rabs_R0. Qed.

Lemma continuous_coordinate n k : continuous (fun t => t n k).
Proof. intros t e E; exists e; split; [exact E|]; intros t' T; apply T. Qed.

(** max (x, 0) = (x + |x|) / 2. *)
Lemma continuous_positive_part f : continuous f -> continuous (fun t => Rmax (f t) 0).
Proof.
intros F; apply (same_function _ _ (fun t => / 2 * (f t + Rabs (f t)))).
  intros t; unfold Rmax, Rabs; destruct (Rle_dec (f t) 0), (Rcase_abs (f t)); lra.
apply continuous_scaled, continuous_sum; [exact F|]; apply (continuous_composed Rabs); [|exact F].
intros t; apply Rcontinuity_abs.
Qed.

Lemma continuous_power n f : continuous f -> continuous (fun t => f t ^ n).
Proof. intros F; induction n as [|n IH]; simpl; [apply continuous_fixed | now apply continuous_product]. Qed.

Lemma exp_continuous x : continuity_pt exp x.
Proof. apply derivable_continuous_pt, derivable_pt_exp. Qed.

Theorem textbook_of_continuity erf : continuity erf -> textbook erf (fun _ => continuous).
Proof.
intros E; constructor; intros.
- apply continuous_fixed.
- apply continuous_coordinate.
- assumption.
- now apply continuous_sum.
- now apply continuous_product.
- apply (continuous_composed exp); [|assumption]; intros t; apply exp_continuous.
- apply (continuous_composed sin); [|assumption]; intros t; apply continuity_sin.
- apply (continuous_composed cos); [|assumption]; intros t; apply continuity_cos.
- apply (continuous_composed erf); [|assumption]; intros t; apply E.
- apply (continuous_composed Rinv); [|assumption]; intros t.
  apply (continuity_pt_inv (fun x => x)); [|trivial]; apply derivable_continuous_pt, derivable_pt_id.
- apply (continuous_composed ln); [|assumption]; intros t; apply derivable_continuous_pt.
  exists (/ f t); apply derivable_pt_lim_ln; trivial.
- apply (continuous_composed sqrt); [|assumption]; intros t; apply continuity_pt_sqrt; trivial.
- now apply continuous_power, continuous_positive_part.
- apply (same_function _ _ (fun t => Rmax (f t) 0 + (exp (f t + -1 * Rmax (f t) 0) + -1))).
    intros t; rewrite elu_parts; rational; unfold Rmin, Rmax; destruct (Rle_dec (f t) 0).
      replace (f t + -1 * 0) with (f t) by ring; lra.
    replace (f t + -1 * f t) with 0 by ring; lra.
  apply continuous_sum; [now apply continuous_positive_part|]; apply continuous_sum; [|apply continuous_fixed].
  apply (continuous_composed exp); [intros t; apply exp_continuous|]; apply continuous_sum; [assumption|].
  now apply continuous_scaled, continuous_positive_part.
Qed.

(** Every entry of a node of which a class is accepted that is not [Jumping] is continuous in all parameters. *)
Theorem accepted_is_continuous (u_ : unspecified) (prompt : BinNums.positive -> N -> Z) g cells grades :
  continuity (erf u_) -> (forall n k, (0 <= prompt n k < Zpos n)%Z) -> check_classes g [] [] 0%N = inl (cells, grades) ->
  forall i n b m r, nth_error (rev g) i = Some (n, Claimed b m, r) -> r <> Jumping ->
  forall k, continuous (fun t => number (nth i (values u_ t prompt (nodes g) [] []) no_tensor k)).
Proof.
intros E P C i n b m r R J k.
pose proof (classes_hold u_ (fun _ => continuous) (textbook_of_continuity _ E) prompt P g cells grades C i n b m r R k) as H.
destruct r as [|s|]; [|exact H | now destruct J].
intros t e P'; exists 1; split; [lra|]; intros t' _; rewrite (H t' t); unfold Rminus; now rewrite Rplus_opp_r, Rabs_R0.
Qed.
