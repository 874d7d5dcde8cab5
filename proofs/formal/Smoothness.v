(** * Every class that the checker lets through is true

    The rules of the textbook (sums, products and compositions of analytic functions are analytic, and so on) are hypotheses
    here, by name ([textbook]); everything else is proved: that the operations of a network are built in these ways, that
    divisors, roots and logarithms stay in their domains, that what is fixed is fixed, and that kinks drop out where bounds
    exclude them. *)

From Coq Require Import Reals QArith Qreals NArith ZArith List Bool Lra Lia FunctionalExtensionality.
From Sipit Require Import Elementary Intervals Tensors Meaning Checker Soundness Classes.
Import ListNotations.
Local Open Scope R_scope.

(** All parameters: by name, by place. *)
Definition point := N -> N -> R.
Definition function := point -> R.

(** What is taken from the textbook, of functions of the parameters on the whole parameter space; [smooth (C n)]: n times
    continuously differentiable, [smooth (C 0)]: continuous. *)
Record textbook (erf : R -> R) (smooth : smoothness -> function -> Prop) : Prop := Textbook {
  fixed : forall c, smooth Polynomial (fun _ => c);
  coordinates : forall n k, smooth Polynomial (fun t => t n k);
  weaker_class : forall s s' f, at_least_as_smooth s s' = true -> smooth s f -> smooth s' f;
  sums : forall s f g, smooth s f -> smooth s g -> smooth s (fun t => f t + g t);
  products : forall s f g, smooth s f -> smooth s g -> smooth s (fun t => f t * g t);
  exponentials : forall s f, at_least_as_smooth Analytic s = true -> smooth s f -> smooth s (fun t => exp (f t));
  sines : forall s f, at_least_as_smooth Analytic s = true -> smooth s f -> smooth s (fun t => sin (f t));
  cosines : forall s f, at_least_as_smooth Analytic s = true -> smooth s f -> smooth s (fun t => cos (f t));
  error_functions : forall s f, at_least_as_smooth Analytic s = true -> smooth s f -> smooth s (fun t => erf (f t));
  inverses : forall s f, at_least_as_smooth Analytic s = true -> (forall t, f t <> 0) -> smooth s f -> smooth s (fun t => / f t);
  logarithms : forall s f, at_least_as_smooth Analytic s = true -> (forall t, 0 < f t) -> smooth s f -> smooth s (fun t => ln (f t));
  roots : forall f, (forall t, 0 <= f t) -> smooth (C 0) f -> smooth (C 0) (fun t => sqrt (f t));
  kinks : forall m n f, (m < n)%nat -> smooth (C m) f -> smooth (C m) (fun t => Rmax (f t) 0 ^ n);
  bends : forall f, smooth (C 1) f -> smooth (C 1) (fun t => elu 1 (f t))
}.

Section Smoothness.

Variables (u_ : unspecified) (smooth : smoothness -> function -> Prop).
Hypothesis known_rules : textbook (erf u_) smooth.

Definition holds (r : regularity) (f : function) : Prop :=
  match r with Still => forall t t', f t = f t' | Smooth s => smooth s f | Jumping => True end.

(** ** The order of the classes *)
Lemma smoothness_refl s : at_least_as_smooth s s = true.
Proof. destruct s; simpl; trivial; apply Nat.leb_refl. Qed.

Lemma regularity_refl r : at_least_as_regular r r = true.
Proof. destruct r; simpl; trivial; apply smoothness_refl. Qed.

Lemma regularity_total r r' : at_least_as_regular r r' = false -> at_least_as_regular r' r = true.
Proof.
destruct r as [|[| |n]|], r' as [|[| |m]|]; simpl; try discriminate; trivial.
intros H; apply Nat.leb_gt in H; apply Nat.leb_le; lia.
Qed.

Lemma worse_left r r' : at_least_as_regular r (worse r r') = true.
Proof. unfold worse; destruct (at_least_as_regular r r') eqn:E; [exact E | apply regularity_refl]. Qed.

Lemma worse_right r r' : at_least_as_regular r' (worse r r') = true.
Proof.
unfold worse; destruct (at_least_as_regular r r') eqn:E; [apply regularity_refl | now apply regularity_total].
Qed.

Lemma same_function (P : function -> Prop) f g : (forall t, f t = g t) -> P g -> P f.
Proof. intros E; now replace f with g by (extensionality t; now rewrite E). Qed.

Lemma fixed_smooth s f : (forall t t', f t = f t') -> smooth s f.
Proof.
intros E; apply (weaker_class _ _ known_rules Polynomial); [reflexivity|].
apply (same_function _ _ (fun _ => f (fun _ _ => 0))); [intros t; apply E | apply (fixed _ _ known_rules)].
Qed.

Lemma holds_weaker r r' f : at_least_as_regular r r' = true -> holds r f -> holds r' f.
Proof.
destruct r as [|s|], r' as [|s'|]; simpl; try discriminate; trivial; intros E H.
- now apply fixed_smooth.
- now apply (weaker_class _ _ known_rules s).
Qed.

Lemma holds_left r r' f : holds r f -> holds (worse r r') f.
Proof. apply holds_weaker, worse_left. Qed.
Lemma holds_right r r' f : holds r' f -> holds (worse r r') f.
Proof. apply holds_weaker, worse_right. Qed.

Lemma holds_same r f g : (forall t, f t = g t) -> holds r g -> holds r f.
Proof. apply same_function. Qed.

(** ** Sums, products, compositions *)
Lemma holds_fixed r c : holds r (fun _ => c).
Proof. destruct r; simpl; trivial; now apply fixed_smooth. Qed.

Lemma holds_sum r f g : holds r f -> holds r g -> holds r (fun t => f t + g t).
Proof.
destruct r; simpl; trivial; [|apply (sums _ _ known_rules)].
intros F G t t'; now rewrite (F t t'), (G t t').
Qed.

Lemma holds_product r f g : holds r f -> holds r g -> holds r (fun t => f t * g t).
Proof.
destruct r; simpl; trivial; [|apply (products _ _ known_rules)].
intros F G t t'; now rewrite (F t t'), (G t t').
Qed.

Lemma holds_scaled r c f : holds r f -> holds r (fun t => c * f t).
Proof. apply holds_product, holds_fixed. Qed.

Lemma holds_opposite r f : holds r f -> holds r (fun t => - f t).
Proof. intros H; apply (holds_same _ _ (fun t => -1 * f t)); [intros; lra | now apply holds_scaled]. Qed.

Lemma holds_difference r f g : holds r f -> holds r g -> holds r (fun t => f t - g t).
Proof. intros F G; apply holds_sum; [exact F | now apply holds_opposite]. Qed.

Lemma holds_power r n f : holds r f -> holds r (fun t => f t ^ n).
Proof. intros H; induction n as [|n IH]; simpl; [apply holds_fixed | now apply holds_product]. Qed.

Lemma holds_total {A} r (xs : list A) (f : A -> function) : (forall a, In a xs -> holds r (f a)) ->
  holds r (fun t => total (map (fun a => f a t) xs)).
Proof.
induction xs as [|a xs IH]; intros H; simpl; [apply holds_fixed|].
apply holds_sum; [apply H; now left | apply IH; intros b B; apply H; now right].
Qed.

(** What a function of one number that is analytic on a domain does to a class. *)
Lemma composed (phi : R -> R) (D : R -> Prop) r f :
  (forall s g, at_least_as_smooth Analytic s = true -> (forall t, D (g t)) -> smooth s g -> smooth s (fun t => phi (g t))) ->
  (forall t, D (f t)) -> holds r f -> holds (analytic_of r) (fun t => phi (f t)).
Proof.
intros H F; unfold analytic_of, worse; destruct r as [|s|]; simpl; trivial.
- intros E; apply fixed_smooth; intros t t'; now rewrite (E t t').
- intros S; destruct s as [| |n]; simpl; apply H; trivial; now apply (weaker_class _ _ known_rules Polynomial).
Qed.

Definition everywhere (x : R) : Prop := True.

Lemma holds_exp r f : holds r f -> holds (analytic_of r) (fun t => exp (f t)).
Proof. apply (composed exp everywhere); [intros; now apply (exponentials _ _ known_rules) | exact (fun _ => I)]. Qed.
Lemma holds_sin r f : holds r f -> holds (analytic_of r) (fun t => sin (f t)).
Proof. apply (composed sin everywhere); [intros; now apply (sines _ _ known_rules) | exact (fun _ => I)]. Qed.
Lemma holds_cos r f : holds r f -> holds (analytic_of r) (fun t => cos (f t)).
Proof. apply (composed cos everywhere); [intros; now apply (cosines _ _ known_rules) | exact (fun _ => I)]. Qed.
Lemma holds_erf r f : holds r f -> holds (analytic_of r) (fun t => erf u_ (f t)).
Proof. apply (composed _ everywhere); [intros; now apply (error_functions _ _ known_rules) | exact (fun _ => I)]. Qed.
Lemma holds_inverse r f : (forall t, f t <> 0) -> holds r f -> holds (analytic_of r) (fun t => / f t).
Proof. apply (composed Rinv (fun x => x <> 0)); intros; now apply (inverses _ _ known_rules). Qed.
Lemma holds_ln r f : (forall t, 0 < f t) -> holds r f -> holds (analytic_of r) (fun t => ln (f t)).
Proof. apply (composed ln (fun x => 0 < x)); intros; now apply (logarithms _ _ known_rules). Qed.

Lemma analytic_twice r : analytic_of (analytic_of r) = analytic_of r.
Proof. now destruct r as [|[| |n]|]. Qed.

(** A root of what is positive: e^(ln x / 2). *)
Lemma holds_root r f : (forall t, 0 < f t) -> holds r f -> holds (analytic_of r) (fun t => sqrt (f t)).
Proof.
intros P H; apply (holds_same _ _ (fun t => exp (/ 2 * ln (f t)))).
  intros t; rewrite <- (Rpower_sqrt (f t) (P t)); reflexivity.
rewrite <- analytic_twice; apply holds_exp, holds_scaled; now apply holds_ln.
Qed.

(** ** Kinks *)
(** What keeps functions that are n times continuously differentiable so, keeps worse ones what they are if it keeps all
    that are continuous less often. *)
Lemma kinked_composed (phi : R -> R) (D : R -> Prop) n r f :
  (forall m g, (m <= n)%nat -> (forall t, D (g t)) -> smooth (C m) g -> smooth (C m) (fun t => phi (g t))) ->
  (forall t, D (f t)) -> holds r f -> holds (kinked r n) (fun t => phi (f t)).
Proof.
intros H F; unfold kinked, worse; destruct r as [|s|]; simpl; trivial.
- intros E; apply fixed_smooth; intros t t'; now rewrite (E t t').
- intros S; destruct (at_least_as_smooth s (C n)) eqn:E.
    apply H; trivial; exact (weaker_class _ _ known_rules s _ _ E S).
  destruct s as [| |m]; try discriminate; simpl in E |- *; apply Nat.leb_gt in E; apply H; trivial; lia.
Qed.

Lemma holds_positive_part r f : holds r f -> holds (kinked r 0) (fun t => Rmax (f t) 0).
Proof.
apply (kinked_composed (fun x => Rmax x 0) everywhere); [|exact (fun _ => I)].
intros m g M _ G; apply (same_function _ _ (fun t => Rmax (g t) 0 ^ 1)); [intros; ring|].
apply (kinks _ _ known_rules); [lia | exact G].
Qed.

Lemma holds_max r f g : holds r f -> holds r g -> holds (kinked r 0) (fun t => Rmax (f t) (g t)).
Proof.
intros F G; apply (holds_same _ _ (fun t => g t + Rmax (f t - g t) 0)).
  intros t; unfold Rmax; destruct (Rle_dec (f t) (g t)), (Rle_dec (f t - g t) 0); lra.
apply holds_sum; [now apply holds_left | now apply holds_positive_part, holds_difference].
Qed.

Lemma holds_min r f g : holds r f -> holds r g -> holds (kinked r 0) (fun t => Rmin (f t) (g t)).
Proof.
intros F G; apply (holds_same _ _ (fun t => - Rmax (- f t) (- g t))).
  intros t; unfold Rmax, Rmin; destruct (Rle_dec (f t) (g t)), (Rle_dec (- f t) (- g t)); lra.
now apply holds_opposite, holds_max; apply holds_opposite.
Qed.

Lemma kinked_twice r : kinked (kinked r 0) 0 = kinked r 0.
Proof. destruct r as [|[| |n]|]; simpl; trivial; unfold kinked, worse; simpl; destruct n; reflexivity. Qed.

Lemma analytic_kinked r n : analytic_of (kinked r n) = kinked r n.
Proof.
destruct r as [|[| |m]|]; simpl; trivial; unfold kinked, worse; simpl; destruct (n <=? m)%nat; reflexivity.
Qed.

(** ** Functions of one number *)
Lemma holds_sigmoid r f : holds r f -> holds (analytic_of r) (fun t => sigmoid (f t)).
Proof.
intros H; unfold sigmoid; rewrite <- analytic_twice; apply holds_inverse.
  intros t; pose proof (exp_pos (- f t)); lra.
apply holds_sum; [apply holds_fixed | now apply holds_exp, holds_opposite].
Qed.

Lemma holds_itself r f : holds r f -> holds (analytic_of r) f.
Proof. apply holds_left. Qed.

Lemma holds_mish r f : holds r f -> holds (analytic_of r) (fun t => mish (f t)).
Proof.
intros H; unfold mish; apply holds_product; [now apply holds_itself|].
assert (E : holds (analytic_of r) (fun t => (1 + exp (f t)) ^ 2)).
  apply holds_power, holds_sum; [apply holds_fixed | now apply holds_exp].
apply holds_product; [apply holds_difference; [exact E | apply holds_fixed]|].
rewrite <- analytic_twice; apply holds_inverse; [|apply holds_sum; [exact E | apply holds_fixed]].
intros t; pose proof (pow2_ge_0 (1 + exp (f t))); lra.
Qed.

Lemma holds_leaky r slope f : holds r f -> holds (kinked r 0) (fun t => leaky slope (f t)).
Proof.
intros H; apply (holds_same _ _ (fun t => Q2R slope * Rmin (f t) 0 + Rmax (f t) 0)).
  intros t; unfold leaky, Rmax, Rmin; destruct (Rle_dec (f t) 0); lra.
apply holds_sum; [apply holds_scaled, holds_min | now apply holds_positive_part]; [exact H | apply holds_fixed].
Qed.

Lemma elu_parts scale x : elu scale x = Rmax x 0 + Q2R scale * (exp (Rmin x 0) - 1).
Proof. unfold elu, Rmax, Rmin; destruct (Rle_dec x 0); [lra | rewrite exp_0; lra]. Qed.

Lemma holds_elu r scale f : holds r f -> holds (kinked r 0) (fun t => elu scale (f t)).
Proof.
intros H; apply (holds_same _ _ (fun t => Rmax (f t) 0 + Q2R scale * (exp (Rmin (f t) 0) - 1))).
  intros t; apply elu_parts.
apply holds_sum; [now apply holds_positive_part|]; apply holds_scaled, holds_difference; [|apply holds_fixed].
rewrite <- analytic_kinked; apply holds_exp, holds_min; [exact H | apply holds_fixed].
Qed.

Lemma holds_bend r f : holds r f -> holds (kinked r 1) (fun t => elu 1 (f t)).
Proof.
apply (kinked_composed (elu 1) everywhere); [|exact (fun _ => I)].
intros [|[|m]] g M _ G; [exact (holds_elu (Smooth (C 0)) 1 g G) | now apply (bends _ _ known_rules) | lia].
Qed.

Lemma holds_clamp r lo hi f : holds r f -> holds (kinked r 0) (fun t => clamp lo hi (f t)).
Proof.
intros H; unfold clamp.
assert (E : holds (kinked r 0) (fun t => match lo with Some q => Rmax (f t) (Q2R q) | None => f t end)).
  destruct lo; [apply holds_max; [exact H | apply holds_fixed] | now apply holds_left].
destruct hi; [|exact E]; rewrite <- kinked_twice; apply holds_min; [exact E | apply holds_fixed].
Qed.

(** What [inside] says of a function: it is the larger one of 0 and of a function of that class. *)
Definition inside_holds (i : option regularity) (f : function) : Prop :=
  forall r, i = Some r -> exists f', holds r f' /\ forall t, f t = Rmax (f' t) 0.

Definition grade_holds (g : graded) (f : function) : Prop := holds (grade g) f /\ inside_holds (inside g) f.

Lemma holds_power_class n g f : grade_holds g f -> holds (power_class n g) (fun t => f t ^ n).
Proof.
intros [H I]; unfold power_class; destruct (inside g) as [r|]; [|now apply holds_power].
destruct (_ && _) eqn:E; [|now apply holds_power]; apply andb_true_iff in E as [E _]; apply Nat.leb_le in E.
destruct (I r eq_refl) as [f' [H' E']]; apply (holds_same _ _ (fun t => Rmax (f' t) 0 ^ n)); [intros t; now rewrite E'|].
apply (kinked_composed (fun x => Rmax x 0 ^ n) everywhere); [|exact (fun _ => Logic.I) | exact H'].
intros m h M _ S; apply (kinks _ _ known_rules); [lia | exact S].
Qed.

Lemma holds_unary u k b b' g f : unary_limits u k b = Some b' -> (forall t, within b (f t)) -> grade_holds g f ->
  holds (unary_class u b g) (fun t => unary_value u_ u (f t)).
Proof.
intros L W G; pose proof G as [H _]; destruct u; simpl in L |- *; try exact I.
- now apply holds_opposite.
- now apply holds_exp.
- apply holds_difference; [now apply holds_exp | apply holds_fixed].
- destruct (above_value 0 b) eqn:E; [|discriminate]; apply holds_ln; [|exact H].
  intros t; pose proof (above_value_sound _ _ _ E (W t)); rational; lra.
- destruct (above_value minus_one b) eqn:E; [|discriminate].
  apply (holds_ln _ (fun t => f t + 1)); [|apply holds_sum; [exact H | apply holds_fixed]].
  intros t; pose proof (above_value_sound _ _ _ E (W t)); unfold minus_one in *; rational; lra.
- destruct (nonnegative b) eqn:E; [|discriminate]; destruct (positive b) eqn:P.
    apply holds_root; [intros t; exact (positive_sound _ _ P (W t)) | exact H].
  apply (kinked_composed sqrt (fun x => 0 <= x)); [|intros t; exact (nonnegative_sound _ _ E (W t)) | exact H].
  intros m h M D S; replace m with 0%nat in * by lia; now apply (roots _ _ known_rules).
- destruct (above_value 0 b) eqn:E; [|discriminate].
  assert (P : forall t, 0 < f t) by (intros t; pose proof (above_value_sound _ _ _ E (W t)); rational; lra).
  rewrite <- analytic_twice; apply holds_inverse; [|now apply holds_root].
  intros t; pose proof (sqrt_lt_R0 _ (P t)); lra.
- now apply holds_sigmoid.
- apply (holds_same _ _ (fun t => 2 * sigmoid (2 * f t) - 1)); [intros t; symmetry; apply tanh_is|].
  apply holds_difference; [now apply holds_scaled, holds_sigmoid, holds_scaled | apply holds_fixed].
- now apply holds_erf.
- now apply holds_sin.
- now apply holds_cos.
- apply holds_product; [|apply holds_fixed]; apply holds_product; [now apply holds_itself|].
  apply holds_sum; [apply holds_fixed | apply holds_erf].
  apply holds_product; [exact H | apply holds_fixed].
- unfold tanh_gelu; apply holds_product; [now apply holds_itself|].
  apply holds_sigmoid, holds_scaled, holds_scaled, holds_sum; [exact H | now apply holds_scaled, holds_power].
- unfold silu; apply holds_product; [now apply holds_itself | now apply holds_sigmoid].
- now apply holds_mish.
- destruct (qlt 0 beta); [|discriminate]; apply holds_scaled; rewrite <- analytic_twice; apply holds_ln.
    intros t; pose proof (exp_pos (Q2R beta * f t)); lra.
  apply holds_sum; [apply holds_fixed | now apply holds_exp, holds_scaled].
- destruct (nonnegative b) eqn:E.
    apply (holds_same _ _ f); [intros t; apply Rmax_left, (nonnegative_sound _ _ E (W t)) | exact H].
  destruct (at_most 0 b) eqn:E'; [|now apply holds_positive_part].
  intros t t'; rewrite !Rmax_right; trivial; [pose proof (at_most_sound _ _ _ E' (W t')) | pose proof (at_most_sound _ _ _ E' (W t))];
    rational; lra.
- destruct (nonnegative b) eqn:E; simpl.
    apply (holds_same _ _ f); [intros t; apply Rabs_pos_eq, (nonnegative_sound _ _ E (W t)) | exact H].
  destruct (at_most 0 b) eqn:E'.
    apply (holds_same _ _ (fun t => - f t)); [|now apply holds_opposite].
    intros t; apply Rabs_left1; pose proof (at_most_sound _ _ _ E' (W t)); rational; lra.
  apply (holds_same _ _ (fun t => Rmax (f t) (- f t))); [|apply holds_max; [exact H | now apply holds_opposite]].
  intros t; unfold Rabs, Rmax; destruct (Rcase_abs (f t)), (Rle_dec (f t) (- f t)); lra.
- destruct (Qeq_bool slope 1 || nonnegative b) eqn:E.
    apply (holds_same _ _ f); [|exact H]; intros t; unfold leaky; destruct (Rle_dec (f t) 0); trivial.
    apply orb_true_iff in E as [E|E].
      apply Qeq_bool_iff, Qeq_eqR in E; rewrite E; rational; lra.
    pose proof (nonnegative_sound _ _ E (W t)); replace (f t) with 0 by lra; lra.
  destruct (at_most 0 b) eqn:E'; [|now apply holds_leaky].
  assert (B : forall t, leaky slope (f t) = Q2R slope * f t).
    intros t; pose proof (at_most_sound _ _ _ E' (W t)); rational; unfold leaky; destruct (Rle_dec (f t) 0); lra.
  destruct (Qeq_bool slope 0) eqn:Z.
    apply Qeq_bool_iff, Qeq_eqR in Z; intros t t'; rewrite !B, Z; rational; lra.
  apply (holds_same _ _ (fun t => Q2R slope * f t)); [exact B | now apply holds_scaled].
- destruct (nonnegative b) eqn:E.
    apply (holds_same _ _ f); [|exact H]; intros t; unfold elu; destruct (Rle_dec (f t) 0); trivial.
    pose proof (nonnegative_sound _ _ E (W t)); replace (f t) with 0 by lra; rewrite exp_0; lra.
  destruct (at_most 0 b) eqn:E'.
    apply (holds_same _ _ (fun t => Q2R scale * (exp (f t) - 1))).
      intros t; pose proof (at_most_sound _ _ _ E' (W t)); rational; unfold elu; destruct (Rle_dec (f t) 0); lra.
    apply holds_scaled, holds_difference; [now apply holds_exp | apply holds_fixed].
  destruct (Qeq_bool scale 1) eqn:S; [|now apply holds_elu].
  apply (holds_same _ _ (fun t => elu 1 (f t))); [|now apply holds_bend].
  intros t; unfold elu; apply Qeq_bool_iff, Qeq_eqR in S; now rewrite S.
- destruct (stays_above lo b && stays_below hi b) eqn:E; [|now apply holds_clamp].
  apply andb_true_iff in E as [E E']; apply (holds_same _ _ f); [|exact H]; intros t; unfold clamp.
  assert (A : match lo with Some q => Rmax (f t) (Q2R q) | None => f t end = f t).
    destruct lo as [q|]; trivial; apply Rmax_left, (at_least_sound _ _ _ E (W t)).
  rewrite A; destruct hi as [q|]; trivial; apply Rmin_left, (at_most_sound _ _ _ E' (W t)).
- now apply holds_power_class.
- exact H.
Qed.

(** ** Functions of two numbers *)
Lemma holds_larger x y r r' f g : (forall t, within x (f t)) -> (forall t, within y (g t)) -> holds r f -> holds r' g ->
  holds (larger_class x y r r') (fun t => Rmax (f t) (g t)).
Proof.
intros X Y F G; unfold larger_class.
assert (W : forall t, within (sub x y) (f t - g t)) by (intros t; now apply sub_sound).
destruct (nonnegative (sub x y)) eqn:E.
  apply (holds_same _ _ f); [|exact F]; intros t; apply Rmax_left; pose proof (nonnegative_sound _ _ E (W t)); lra.
destruct (at_most 0 (sub x y)) eqn:E'.
  apply (holds_same _ _ g); [|exact G]; intros t; apply Rmax_right; pose proof (at_most_sound _ _ _ E' (W t)); rational; lra.
apply holds_max; [now apply holds_left | now apply holds_right].
Qed.

Lemma holds_binary b same x y B g g' f f' : binary_limits b same x y = Some B ->
  (forall t, within x (f t)) -> (forall t, within y (f' t)) -> grade_holds g f -> grade_holds g' f' ->
  (same = true -> forall t, f t = f' t) -> holds (binary_class b same x y g g') (fun t => binary_value b (f t) (f' t)).
Proof.
intros L X Y G G' S; pose proof G as [H _]; pose proof G' as [H' _]; destruct b; simpl in L |- *; try exact I.
- apply holds_sum; [now apply holds_left | now apply holds_right].
- apply holds_difference; [now apply holds_left | now apply holds_right].
- destruct same.
    apply (holds_same _ _ (fun t => f t ^ 2)); [intros t; rewrite <- (S eq_refl t); ring | now apply holds_power_class].
  apply holds_product; [now apply holds_left | now apply holds_right].
- assert (N : forall t, f' t <> 0).
    intros t; destruct (positive y || negative y) eqn:E; [|discriminate]; apply orb_true_iff in E as [E|E];
      [pose proof (positive_sound _ _ E (Y t)) | pose proof (negative_sound _ _ E (Y t))]; lra.
  destruct (is_still (grade g')) eqn:E.
    destruct (grade g') eqn:E'; try discriminate; simpl in H'.
    apply (holds_same _ _ (fun t => f t * / f' (fun _ _ => 0))).
      intros t; unfold Rdiv; now rewrite (H' t (fun _ _ => 0)).
    apply holds_product; [exact H | apply holds_fixed].
  apply holds_product; [apply holds_itself; now apply holds_left|].
  apply holds_inverse; [exact N | now apply holds_right].
- now apply holds_larger.
- apply (holds_same _ _ (fun t => - Rmax (- f t) (- f' t))).
    intros t; unfold Rmax, Rmin; destruct (Rle_dec (f t) (f' t)), (Rle_dec (- f t) (- f' t)); lra.
  apply holds_opposite, holds_larger; try (intros t; now apply neg_sound); now apply holds_opposite.
Qed.

(** ** Numbers in order *)
Lemma put_in_order_holds r x gs : holds (kinked r 0) x -> Forall (holds (kinked r 0)) gs ->
  exists hs, Forall (holds (kinked r 0)) hs /\
    forall t, put_in_order (x t) (map (fun g => g t) gs) = map (fun h => h t) hs.
Proof.
intros X H; revert x X; induction H as [|g gs G H IH]; intros x X.
  exists [x]; split; [now constructor | reflexivity].
assert (larger : holds (kinked r 0) (fun t => Rmax (x t) (g t))) by (rewrite <- kinked_twice; now apply holds_max).
assert (smaller : holds (kinked r 0) (fun t => Rmin (x t) (g t))) by (rewrite <- kinked_twice; now apply holds_min).
destruct (IH _ smaller) as [hs [K E]]; exists ((fun t => Rmax (x t) (g t)) :: hs); split; [now constructor|].
intros t; simpl; now rewrite E.
Qed.

Lemma ordered_holds {A} r (f : A -> function) xs : (forall a, holds r (f a)) ->
  exists hs, Forall (holds (kinked r 0)) hs /\ forall t, ordered (map (fun a => f a t) xs) = map (fun h => h t) hs.
Proof.
intros H; induction xs as [|a xs [gs [G E]]]; [now exists []|].
destruct (put_in_order_holds r (f a) gs (holds_left _ _ _ (H a)) G) as [hs [K E']].
exists hs; split; [exact K|]; intros t; simpl; fold (ordered (map (fun a => f a t) xs)); now rewrite E, E'.
Qed.

Lemma nth_holds r hs i : Forall (holds r) hs -> holds r (fun t => nth i (map (fun h => h t) hs) 0).
Proof.
intros H; revert i; induction H as [|h hs K _ IH]; intros [|i]; simpl; trivial; apply holds_fixed.
Qed.

Lemma holds_nth {A} r (f : A -> function) xs i : (forall a, holds r (f a)) ->
  holds r (fun t => nth i (map (fun a => f a t) xs) 0).
Proof. intros H; revert i; induction xs as [|a xs IH]; intros [|i]; simpl; trivial; apply holds_fixed. Qed.

(** ** Layer norm *)
Lemma holds_mean {A} r (f : A -> function) xs : (forall a, holds r (f a)) ->
  holds r (fun t => mean_of (map (fun a => f a t) xs)).
Proof.
intros H; apply (holds_same _ _ (fun t => total (map (fun a => f a t) xs) * / INR (length xs))).
  intros t; unfold mean_of; now rewrite map_length.
apply holds_product; [now apply holds_total | apply holds_fixed].
Qed.

Lemma mean_nonneg xs : (forall x, In x xs -> 0 <= x) -> 0 <= mean_of xs.
Proof.
intros H; unfold mean_of; pose proof (total_nonneg xs H); destruct xs as [|x xs]; [simpl; unfold Rdiv; lra|].
apply Rmult_le_pos; [exact H0|]; apply Rlt_le, Rinv_0_lt_compat, lt_0_INR; simpl; lia.
Qed.

Lemma holds_normalised {A} r epsilon (f : A -> function) xs g : qlt 0 epsilon = true -> (forall a, holds r (f a)) ->
  holds r g -> holds (analytic_of r) (fun t => normalised epsilon (map (fun a => f a t) xs) (g t)).
Proof.
intros E F G; unfold normalised.
assert (M : holds r (fun t => mean_of (map (fun a => f a t) xs))) by now apply holds_mean.
apply holds_product; [now apply holds_itself, holds_difference|].
set (spread := fun t => mean_of (map (fun y => (y - mean_of (map (fun a => f a t) xs)) * (y - mean_of (map (fun a => f a t) xs)))
  (map (fun a => f a t) xs)) + Q2R epsilon).
assert (P : forall t, 0 < spread t).
  intros t; unfold spread; compared; rational.
  match goal with |- 0 < mean_of ?ys + _ => assert (0 <= mean_of ys) end; [|lra].
  apply mean_nonneg; intros y Y; apply in_map_iff in Y as [z [<- _]]; apply Rle_0_sqr.
rewrite <- analytic_twice; apply holds_inverse; [intros t; pose proof (sqrt_lt_R0 _ (P t)); unfold spread in *; lra|].
apply (holds_root _ spread P); unfold spread; apply holds_sum; [|apply holds_fixed].
apply (holds_same _ _ (fun t => mean_of (map (fun a => (f a t - mean_of (map (fun b => f b t) xs)) *
  (f a t - mean_of (map (fun b => f b t) xs))) xs))); [intros t; now rewrite map_map|].
apply (holds_mean r (fun a t => (f a t - mean_of (map (fun b => f b t) xs)) * (f a t - mean_of (map (fun b => f b t) xs)))).
intros a; apply holds_product; now apply holds_difference.
Qed.

(** ** Tensors that depend on the parameters *)
Variable prompt : BinNums.positive -> N -> Z.
Hypothesis prompt_in_vocabulary : forall n k, (0 <= prompt n k < Zpos n)%Z.

Definition family := point -> tensor.
Definition no_family : family := fun _ => no_tensor.
Definition at_place (F : family) (k : N) : function := fun t => number (F t k).
Definition at_point (Fs : list family) (t : point) : list tensor := map (fun F => F t) Fs.

Definition family_holds (g : graded) (F : family) : Prop := forall k, grade_holds g (at_place F k).

Inductive families_ok : list cell -> list line -> list graded -> list family -> Prop :=
| no_families : families_ok [] [] [] []
| one_family_more c l g F cs ls gs Fs : (forall t, argument_ok c l (F t)) -> family_holds g F -> families_ok cs ls gs Fs ->
    families_ok (c :: cs) (l :: ls) (g :: gs) (F :: Fs).

Lemma masked_none c l (F : family) k : (forall t, argument_ok c l (F t)) -> masked (typed c) l k = true ->
  forall t, F t k = None.
Proof. intros A M t; destruct (A t) as [E _]; specialize (E k); destruct (F t k); trivial; destruct E as [_ [_ E]]; congruence. Qed.

Lemma masked_some c l (F : family) k : (forall t, argument_ok c l (F t)) -> masked (typed c) l k = false ->
  forall t, F t k = Some (at_place F k t).
Proof. intros A M t; unfold at_place; destruct (A t) as [E _]; specialize (E k); destruct (F t k); [reflexivity | congruence]. Qed.

Lemma unmasked_some c l (F : family) k : (forall t, argument_ok c l (F t)) -> unmasked l = true ->
  forall t, F t k = Some (at_place F k t) /\ within (limits l) (at_place F k t).
Proof.
intros A U t; destruct (no_mask _ _ _ (A t) U k) as [x [E [W _]]]; unfold at_place; rewrite E; auto.
Qed.

Lemma still_family c l g (F : family) : (forall t, argument_ok c l (F t)) -> family_holds g F -> is_still (grade g) = true ->
  forall t t', F t = F t'.
Proof.
intros A H S t t'; extensionality k; destruct (H k) as [K _]; destruct (grade g); try discriminate.
destruct (masked (typed c) l k) eqn:M; [now rewrite !(masked_none _ _ _ _ A M)|].
rewrite !(masked_some _ _ _ _ A M); f_equal; apply K.
Qed.

Lemma still_constant c l g (F : family) : (forall t, argument_ok c l (F t)) -> family_holds g F -> is_still (grade g) = true ->
  F = fun _ => F (fun _ _ => 0).
Proof. intros A H S; extensionality t; exact (still_family _ _ _ _ A H S t _). Qed.

Lemma still_families cs ls gs Fs : families_ok cs ls gs Fs -> forallb (fun g => is_still (grade g)) gs = true ->
  forall t t', at_point Fs t = at_point Fs t'.
Proof.
induction 1 as [|c l g F cs ls gs Fs A H _ IH]; intros S t t'; simpl in *; [reflexivity|].
apply andb_true_iff in S as [S S']; f_equal; [exact (still_family _ _ _ _ A H S t t') | now apply IH].
Qed.

Lemma worst_holds cs ls gs Fs : families_ok cs ls gs Fs -> forall i k, holds (worst gs) (at_place (nth i Fs no_family) k).
Proof.
induction 1 as [|c l g F cs ls gs Fs A H _ IH]; intros [|i] k; simpl; try apply (holds_fixed _ 0); trivial.
- apply holds_left, H.
- apply holds_right, IH.
Qed.

Lemma nth_at_point Fs i t : nth i (at_point Fs t) no_tensor = nth i Fs no_family t.
Proof. unfold at_point; change no_tensor with (no_family t); now rewrite (map_nth (fun F : family => F t)). Qed.

Lemma first_at_point Fs t : first_arg (at_point Fs t) = nth 0 Fs no_family t.
Proof. apply nth_at_point. Qed.

Lemma moved_holds cs ls gs Fs i k : families_ok cs ls gs Fs ->
  holds (worst gs) (fun t => number (nth i (at_point Fs t) (first_arg (at_point Fs t)) k)).
Proof.
intros H; destruct (Nat.ltb i (length Fs)) eqn:E.
- apply Nat.ltb_lt in E; apply (holds_same _ _ (at_place (nth i Fs no_family) k)); [|eapply worst_holds, H].
  intros t; unfold at_place; rewrite <- nth_at_point, (nth_indep _ _ no_tensor); trivial; unfold at_point; now rewrite map_length.
- apply Nat.ltb_ge in E; apply (holds_same _ _ (at_place (nth 0 Fs no_family) k)); [|eapply worst_holds, H].
  intros t; unfold at_place; rewrite <- first_at_point, nth_overflow; trivial; unfold at_point; now rewrite map_length.
Qed.

(** An exponential, which is 0 where a mask holds -oo. *)
Lemma exponential_holds c l (F : family) r k : (forall t, argument_ok c l (F t)) -> holds r (at_place F k) ->
  holds (analytic_of r) (fun t => exponential (F t k)).
Proof.
intros A H; destruct (masked (typed c) l k) eqn:M.
- apply (holds_same _ _ (fun _ => 0)); [|apply holds_fixed]; intros t; now rewrite (masked_none _ _ _ _ A M).
- apply (holds_same _ _ (fun t => exp (at_place F k t))); [|now apply holds_exp].
  intros t; now rewrite (masked_some _ _ _ _ A M).
Qed.

(** ** One node *)
Local Notation meaning := (meaning u_).

(** What an operation, of which something is proved, makes of its arguments is of the class that is derived. *)
Definition class_follows (o : op) (to : type) (same : bool) (cs : list cell) (ls : list line) (gs : list graded) (Fs : list family) :=
  forall k, In k (places to) -> holds (moving_class o cs ls gs same)
    (fun t => number (meaning t prompt o (map typed cs) to (at_point Fs t) k)).

Lemma unary_follows u to c l g F same s : (forall t, argument_ok c l (F t)) -> family_holds g F ->
  all_lines [c] = Some [l] -> derive (Unary u) to [c] same = Proved s -> class_follows (Unary u) to same [c] [l] [g] [F].
Proof.
intros A H L D k _; unfold derive in D; rewrite L in D.
unfold meaning, moving_class, at_point, first_arg; simpl map; simpl nth.
destruct (unmasked l) eqn:U.
- destruct (unary_limits u (of_kind (typed c)) (limits l)) as [b|] eqn:E; [|discriminate].
  apply (holds_same _ _ (fun t => unary_value u_ u (at_place F k t))).
    intros t; now rewrite (proj1 (unmasked_some _ _ _ k A U t)).
  apply (holds_unary _ _ _ _ _ _ E); [intros t; exact (proj2 (unmasked_some _ _ _ k A U t)) | apply H].
- destruct u; try discriminate.
  apply (holds_same _ _ (fun t => exponential (F t k))); [intros t; now destruct (F t k)|].
  apply (exponential_holds _ _ _ _ _ A), H.
Qed.

Lemma binary_follows b to same c l g F c' l' g' F' s : (forall t, argument_ok c l (F t)) -> family_holds g F ->
  (forall t, argument_ok c' l' (F' t)) -> family_holds g' F' ->
  (same = true -> F = F' /\ dims (typed c) = dims (typed c')) ->
  all_lines [c; c'] = Some [l; l'] -> derive (Binary b) to [c; c'] same = Proved s ->
  class_follows (Binary b) to same [c; c'] [l; l'] [g; g'] [F; F'].
Proof.
intros A H A' H' S L D k _; unfold derive in D; rewrite L in D.
unfold meaning, moving_class, at_point, first_arg, second_arg, dims_of; simpl map; simpl nth.
set (p := broadcast_place (dims (typed c)) (dims to) k) in *; set (p' := broadcast_place (dims (typed c')) (dims to) k) in *.
destruct (unmasked l && unmasked l') eqn:U.
- destruct (binary_limits b same (limits l) (limits l')) as [B|] eqn:E; [|discriminate].
  apply andb_true_iff in U as [U U']; apply (holds_same _ _ (fun t => binary_value b (at_place F p t) (at_place F' p' t))).
    intros t; rewrite (proj1 (unmasked_some _ _ _ p A U t)), (proj1 (unmasked_some _ _ _ p' A' U' t)); now destruct b.
  apply (holds_binary _ _ _ _ _ _ _ _ _ E); [| |apply H | apply H' |].
  + intros t; exact (proj2 (unmasked_some _ _ _ p A U t)).
  + intros t; exact (proj2 (unmasked_some _ _ _ p' A' U' t)).
  + intros Q t; destruct (S Q) as [-> E']; unfold p, p'; now rewrite E'.
- destruct b; try discriminate.
  + destruct (masked (typed c) l p) eqn:M; [|destruct (masked (typed c') l' p') eqn:M'].
    * apply (holds_same _ _ (fun _ => 0)); [|apply holds_fixed]; intros t; now rewrite (masked_none _ _ _ _ A M).
    * apply (holds_same _ _ (fun _ => 0)); [|apply holds_fixed]; intros t.
      now rewrite (masked_some _ _ _ _ A M), (masked_none _ _ _ _ A' M').
    * apply (holds_same _ _ (fun t => at_place F p t + at_place F' p' t)).
        intros t; now rewrite (masked_some _ _ _ _ A M), (masked_some _ _ _ _ A' M').
      apply holds_sum; [apply holds_left, H | apply holds_right, holds_left, H'].
  + destruct (unmasked l') eqn:U'; [|discriminate]; destruct (masked (typed c) l p) eqn:M.
    * apply (holds_same _ _ (fun _ => 0)); [|apply holds_fixed]; intros t; now rewrite (masked_none _ _ _ _ A M).
    * apply (holds_same _ _ (fun t => at_place F p t - at_place F' p' t)).
        intros t; now rewrite (masked_some _ _ _ _ A M), (proj1 (unmasked_some _ _ _ p' A' U' t)).
      apply holds_difference; [apply holds_left, H | apply holds_right, holds_left, H'].
  + destruct (wholly_masked (typed c') l') eqn:M.
      apply (holds_same _ _ (at_place F p)); [|apply H].
      intros t; rewrite (wholly_none _ _ _ M (proj1 (A' t))); unfold at_place; now destruct (F t p).
    destruct (wholly_masked (typed c) l) eqn:M'; [|discriminate].
    apply (holds_same _ _ (at_place F' p')); [|apply H'].
    intros t; rewrite (wholly_none _ _ _ M' (proj1 (A t))); unfold at_place; now destruct (F' t p').
Qed.

Lemma numbers_hold (F : family) g ks : family_holds g F -> holds (grade g) (fun t => total (numbers (F t) ks)).
Proof. intros H; apply (holds_total _ ks (at_place F)); intros k _; apply H. Qed.

Theorem node_follows o to same cs ls gs Fs s : families_ok cs ls gs Fs -> fits o (map typed cs) to = true ->
  (same = true -> exists c F, cs = [c; c] /\ Fs = [F; F]) -> all_lines cs = Some ls -> derive o to cs same = Proved s ->
  forall k, In k (places to) ->
  holds (derive_class o cs ls gs same) (fun t => number (meaning t prompt o (map typed cs) to (at_point Fs t) k)).
Proof.
intros H Fi S L D k P; destruct o as [n|name|name|d es|m|u|b|red keep|red keep|axis|axis|axis|axes eps|axis keep|axis m|axis m| |axis|axis|axis| | ].
2: exact (coordinates _ _ known_rules name k).
21: exact I.
all: unfold derive_class; destruct (forallb (fun g => is_still (grade g)) gs) eqn:E;
  [intros t t'; now rewrite (still_families _ _ _ _ H E t t')|].
1, 2, 3: exact I.
all: clear E; assert (W := worst_holds _ _ _ _ H).
- (* Moved *)
  simpl; destruct (source m _ _ k) as [i p]; exact (moved_holds _ _ _ _ i p H).
- (* Unary *)
  pose proof D as D'; unfold derive in D; rewrite L in D.
  destruct H as [|c l g F cs ls gs Fs A HF H]; [discriminate|]; destruct H; [|discriminate].
  exact (unary_follows u to c l g F same s A HF L D' k P).
- (* Binary *)
  pose proof D as D'; unfold derive in D; rewrite L in D.
  destruct H as [|c l g F cs ls gs Fs A HF H]; [discriminate|]; destruct H as [|c' l' g' F' cs ls gs Fs A' HF' H]; [discriminate|].
  destruct H; [|discriminate].
  apply (binary_follows b to same c l g F c' l' g' F' s A HF A' HF'); trivial.
  intros Q; destruct (S Q) as [c0 [F0 [E1 E2]]]; injection E1 as -> ->; injection E2 as -> ->; auto.
- (* Sum *)
  unfold derive in D; rewrite L in D.
  destruct H as [|c l g F cs ls gs Fs A HF H]; [discriminate|]; destruct H; [|discriminate].
  apply holds_left; exact (numbers_hold F g _ HF).
- (* Mean *)
  unfold derive in D; rewrite L in D.
  destruct H as [|c l g F cs ls gs Fs A HF H]; [discriminate|]; destruct H; [|discriminate].
  apply holds_left; exact (holds_mean (grade g) (at_place F) _ (fun a => proj1 (HF a))).
- (* CumulativeSum *)
  unfold derive in D; rewrite L in D.
  destruct H as [|c l g F cs ls gs Fs A HF H]; [discriminate|]; destruct H; [|discriminate].
  apply holds_left; exact (numbers_hold F g _ HF).
- (* Softmax *)
  unfold derive in D; rewrite L in D.
  destruct H as [|c l g F cs ls gs Fs A HF H]; [discriminate|]; destruct H; [|discriminate].
  destruct (rows_have_entries (typed c) l axis) eqn:R; [|discriminate].
  assert (K : In k (places (typed c))).
    simpl in Fi; repeat match goal with H : _ && _ = true |- _ => apply andb_true_iff in H as [? ?] end.
    unfold same_dims in *; destruct (list_eq_dec N.eq_dec (dims (typed c)) (dims to)) as [Q|]; [|discriminate].
    unfold places in *; now rewrite Q.
  assert (X : forall p, holds (analytic_of (worst [g])) (fun t => exponential (F t p))).
    intros p; apply (exponential_holds c l _ _ _ A), (W 0%nat p).
  unfold moving_class; apply (holds_product _ (fun t => nth _ (map (fun p => exponential (F t p)) _) 0) (fun t => / _)).
    apply (holds_nth _ (fun p t => exponential (F t p))), X.
  rewrite <- analytic_twice; apply holds_inverse.
    intros t; apply Rgt_not_eq, (row_is_positive _ _ _ _ _ (A t) R K).
  apply (holds_total _ _ (fun p t => exponential (F t p))); intros p _; apply X.
- (* LogSumExp *)
  unfold derive in D; rewrite L in D.
  destruct H as [|c l g F cs ls gs Fs A HF H]; [discriminate|]; destruct H; [|discriminate].
  destruct (rows_have_entries (typed c) l axis) eqn:R; [|discriminate].
  simpl moving_class; rewrite <- analytic_twice; apply holds_ln.
    intros t; apply (row_is_positive _ _ _ _ _ (A t) R), wrap_place.
  apply (holds_total _ _ (fun p t => exponential (F t p))); intros p _.
  apply (exponential_holds c l _ _ _ A), (W 0%nat p).
- (* LayerNorm *)
  unfold derive in D; rewrite L in D.
  destruct (forallb unmasked ls && qlt 0 eps) eqn:Q; [|destruct cs, ls; discriminate].
  apply andb_true_iff in Q as [_ Q].
  destruct Fs as [|F Fs]; [inversion H; subst; discriminate|].
  assert (X : holds (analytic_of (worst gs)) (fun t => normalised eps (map (fun p => at_place F p t)
    (map (fun j => k / size (skipn (length (dims_of 0 (map typed cs)) - axes) (dims_of 0 (map typed cs))) *
      size (skipn (length (dims_of 0 (map typed cs)) - axes) (dims_of 0 (map typed cs))) + j)%N
      (range (size (skipn (length (dims_of 0 (map typed cs)) - axes) (dims_of 0 (map typed cs))))))) (at_place F k t))).
    apply holds_normalised; [exact Q | intros p; exact (W 0%nat p) | exact (W 0%nat k)].
  destruct Fs as [|G Fs]; [exact X|].
  assert (Y : forall i p, holds (analytic_of (worst gs)) (at_place (nth i (F :: G :: Fs) no_family) p)).
    intros i p; apply holds_itself, W.
  destruct Fs as [|G' Fs]; [exact (holds_product _ _ _ X (Y 1%nat _))|].
  exact (holds_sum _ _ _ (holds_product _ _ _ X (Y 1%nat _)) (Y 2%nat _)).
- (* Largest *)
  unfold derive in D; rewrite L in D.
  destruct H as [|c l g F cs ls gs Fs A HF H]; [discriminate|]; destruct H; [|discriminate].
  unfold moving_class, meaning, at_point, first_arg, dims_of; simpl map; simpl nth.
  match goal with |- context [numbers _ ?places_] => set (ps := places_) end.
  destruct (nth axis (dims (typed c)) 0 =? 1)%N eqn:One.
  + assert (len : length ps = 1%nat).
      simpl in Fi; repeat match goal with H : _ && _ = true |- _ => apply andb_true_iff in H as [? ?] end.
      match goal with H : Nat.ltb _ _ = true |- _ => apply Nat.ltb_lt in H; rename H into AX end.
      unfold ps; rewrite map_length, length_group, count_marks by exact AX; apply N.eqb_eq in One; now rewrite One.
    destruct ps as [|p [|]]; try discriminate; exact (W 0%nat p).
  + destruct (ordered_holds (worst [g]) (at_place F) ps) as [hs [Hs Ehs]]; [intros p; exact (W 0%nat p)|].
    apply (holds_same _ _ (fun t => nth 0 (map (fun h => h t) hs) 0)); [|now apply nth_holds].
    intros t; rewrite <- Ehs; reflexivity.
- (* TopValues *)
  unfold derive in D; rewrite L in D.
  destruct H as [|c l g F cs ls gs Fs A HF H]; [discriminate|]; destruct H; [|discriminate].
  unfold moving_class, meaning, at_point, first_arg, dims_of; simpl map; simpl nth.
  match goal with |- context [numbers _ ?places_] => set (ps := places_) end.
  match goal with |- context [nth ?i_ (ordered _) 0] => set (i := i_) end.
  destruct (ordered_holds (worst [g]) (at_place F) ps) as [hs [Hs Ehs]]; [intros p; exact (W 0%nat p)|].
  apply (holds_same _ _ (fun t => nth i (map (fun h => h t) hs) 0)); [|now apply nth_holds].
  intros t; rewrite <- Ehs; reflexivity.
- exact I.
- (* MatMul *)
  assert (X : forall p, holds (worst gs) (fun t => number (first_arg (at_point Fs t) p))).
    intros p; apply (holds_same _ _ (at_place (nth 0 Fs no_family) p)); [intros t; now rewrite first_at_point | apply W].
  assert (Y : forall p, holds (worst gs) (fun t => number (second_arg (at_point Fs t) p))).
    intros p; apply (holds_same _ _ (at_place (nth 1 Fs no_family) p)); [|apply W].
    intros t; unfold second_arg; fold no_tensor; now rewrite nth_at_point.
  unfold moving_class, meaning; simpl number.
  set (n := last (dims_of 0 (map typed cs)) 0%N); apply (holds_total (worst gs) (range n)
    (fun j t => number (first_arg (at_point Fs t) _) * number (second_arg (at_point Fs t) _))); intros j _.
  apply holds_product; [apply X | apply Y].
- (* Take *)
  unfold derive in D; rewrite L in D.
  destruct H as [|c l g F cs ls gs Fs A HF H]; [discriminate|]; destruct H as [|c' l' g' F' cs ls gs Fs A' HF' H]; [discriminate|].
  destruct H; [|discriminate].
  unfold moving_class, chosen_by; destruct (is_still (grade g')) eqn:St; [|exact I].
  unfold meaning, at_point, first_arg, second_arg; simpl map; simpl nth.
  rewrite (still_constant _ _ _ _ A' HF' St); exact (proj1 (HF _)).
- (* Gather *)
  unfold derive in D; rewrite L in D.
  destruct H as [|c l g F cs ls gs Fs A HF H]; [discriminate|]; destruct H as [|c' l' g' F' cs ls gs Fs A' HF' H]; [discriminate|].
  destruct H; [|discriminate].
  unfold moving_class, chosen_by; destruct (is_still (grade g')) eqn:St; [|exact I].
  unfold meaning, at_point, first_arg, second_arg; simpl map; simpl nth.
  rewrite (still_constant _ _ _ _ A' HF' St); exact (proj1 (HF _)).
- (* Scatter *)
  unfold derive in D; rewrite L in D.
  destruct H as [|c l g F cs ls gs Fs A HF H]; [discriminate|]; destruct H as [|c' l' g' F' cs ls gs Fs A' HF' H]; [discriminate|].
  destruct H as [|c'' l'' g'' F'' cs ls gs Fs A'' HF'' H]; [discriminate|]; destruct H; [|discriminate].
  unfold moving_class, chosen_by; destruct (is_still (grade g')) eqn:St; [|exact I].
  unfold meaning, at_point, first_arg, second_arg, third_arg; simpl map; simpl nth.
  rewrite (still_constant _ _ _ _ A' HF' St); cbv beta.
  destruct (writer _ _ _ _ _) as [p|]; [apply holds_right, HF'' | apply holds_left, HF].
- (* Select *)
  unfold derive in D; rewrite L in D.
  destruct H as [|c l g F cs ls gs Fs A HF H]; [discriminate|]; destruct H as [|c' l' g' F' cs ls gs Fs A' HF' H]; [discriminate|].
  destruct H as [|c'' l'' g'' F'' cs ls gs Fs A'' HF'' H]; [discriminate|]; destruct H; [|discriminate].
  unfold moving_class, chosen_by; destruct (is_still (grade g)) eqn:St; [|exact I].
  unfold meaning, at_point, first_arg, second_arg, third_arg; simpl map; simpl nth.
  rewrite (still_constant _ _ _ _ A HF St); cbv beta.
  destruct (is_true _); [exact (holds_left _ _ _ (proj1 (HF' _))) | exact (holds_right _ _ _ (proj1 (HF'' _)))].
Qed.

(** ** The whole network *)
Definition node_family (n : node) (types : list type) (Fs : list family) : family :=
  fun t => tensor_of u_ t prompt n (pick no_type types n) (pick no_tensor (at_point Fs t) n).

Fixpoint families (g : list node) (types : list type) (Fs : list family) : list family :=
  match g with [] => Fs | n :: rest => families rest (result n :: types) (node_family n types Fs :: Fs) end.

Lemma families_at g : forall types Fs t, at_point (families g types Fs) t = values u_ t prompt g types (at_point Fs t).
Proof. induction g as [|n g IH]; intros types Fs t; simpl; [reflexivity | apply IH]. Qed.

(** What is known of the nodes so far. *)
Definition graded_ok (c : cell) (g : graded) (F : family) : Prop := match state c with Unproved => True | Proved _ => family_holds g F end.

Inductive all_graded : list cell -> list graded -> list family -> Prop :=
| none_graded : all_graded [] [] []
| one_graded_more c g F cs gs Fs : graded_ok c g F -> all_graded cs gs Fs -> all_graded (c :: cs) (g :: gs) (F :: Fs).

Definition walked (cells : list cell) (grades : list graded) (types : list type) (Fs : list family) : Prop :=
  (forall t, all_ok cells types (at_point Fs t)) /\ all_graded cells grades Fs.

Lemma graded_nth cells grades Fs : all_graded cells grades Fs -> forall j,
  graded_ok (nth j cells no_cell) (nth j grades no_grade) (nth j Fs no_family).
Proof. induction 1 as [|c g F cs gs Fs A _ IH]; intros [|j]; simpl; trivial; exact I. Qed.

Lemma pick_families n Fs t : pick no_tensor (at_point Fs t) n = at_point (pick no_family Fs n) t.
Proof. unfold pick, at_point; rewrite map_map; apply map_ext; intros j; apply (nth_at_point Fs j t). Qed.

Lemma picked_families cells grades types Fs js ls : walked cells grades types Fs ->
  all_lines (map (fun j => nth j cells no_cell) js) = Some ls ->
  families_ok (map (fun j => nth j cells no_cell) js) ls (map (fun j => nth j grades no_grade) js)
    (map (fun j => nth j Fs no_family) js).
Proof.
intros [Ok Graded_]; revert ls; induction js as [|j js IH]; intros ls L; simpl in L |- *; [injection L as <-; constructor|].
pose proof (graded_nth _ _ _ Graded_ j) as G; unfold graded_ok in G.
destruct (state (nth j cells no_cell)) as [|l] eqn:E; [discriminate|].
destruct (all_lines _) as [ls'|]; [|discriminate]; injection L as <-; constructor; [|exact G | now apply IH].
intros t; destruct (Ok t) as [_ C]; pose proof (nth_ok _ _ C j) as K; rewrite (nth_at_point Fs j t) in K.
split; [|exact K]; destruct K as [K _]; now rewrite E in K.
Qed.

Lemma inside_follows o to same cs ls gs Fs s : families_ok cs ls gs Fs -> all_lines cs = Some ls ->
  derive o to cs same = Proved s ->
  forall k, inside_holds (inside_of o gs) (fun t => number (meaning t prompt o (map typed cs) to (at_point Fs t) k)).
Proof.
intros H L D k r E; destruct o as [| | | | |u| | | | | | | | | | | | | | | |]; try discriminate; destruct u; try discriminate.
unfold derive in D; rewrite L in D.
destruct H as [|c l g F cs ls gs Fs A HF H]; [discriminate|]; destruct H; [|discriminate].
simpl in E; injection E as <-; destruct (unmasked l) eqn:U; [|discriminate].
exists (at_place F k); split; [apply HF|]; intros t; unfold meaning, at_point, first_arg; simpl.
now rewrite (proj1 (unmasked_some _ _ _ k A U t)).
Qed.

Lemma graded_step_sound n c r cells grades types Fs new grade_ : walked cells grades types Fs ->
  graded_step n c r cells grades = inl (new, grade_) ->
  walked (new :: cells) (grade_ :: grades) (result n :: types) (node_family n types Fs :: Fs) /\
  (c <> Nothing -> grade grade_ = r).
Proof.
intros W G; unfold graded_step in G; destruct (step n c cells) as [cell_|] eqn:S; [|discriminate].
pose proof W as [Ok Graded_].
assert (cells_ok : forall t, all_ok (cell_ :: cells) (result n :: types) (at_point (node_family n types Fs :: Fs) t)).
  intros t; destruct (step_sound u_ t prompt prompt_in_vocabulary _ _ _ _ _ _ (Ok t) S) as [K T].
  destruct (Ok t) as [-> C]; split; [simpl; now rewrite T | now constructor].
destruct c as [|b m].
- injection G as <- <-; split; [|congruence]; split; [exact cells_ok|]; constructor; [|exact Graded_].
  unfold graded_ok; unfold step in S; destruct (fits _ _ _); [|discriminate]; simpl in S; injection S as <-; exact I.
- destruct (all_lines (pick no_cell cells n)) as [ls|] eqn:L; [|discriminate].
  destruct (at_least_as_regular _ r) eqn:R; [|discriminate]; injection G as <- <-; split; [|trivial].
  split; [exact cells_ok|]; constructor; [|exact Graded_].
  pose proof (picked_families _ _ _ _ _ _ W L) as Pf; fold (pick no_cell cells n) (pick no_grade grades n) (pick no_family Fs n) in Pf.
  destruct (Ok (fun _ _ => 0)) as [types_ _]; subst types.
  unfold graded_ok; destruct (state cell_) as [|l]; [exact I|]; intros k.
  unfold step in S; destruct (fits _ _ _) eqn:F; [|discriminate].
  destruct (derive (operation n) (result n) (pick no_cell cells n) (same_arguments n)) as [|d] eqn:D; [discriminate|].
  assert (same : forall t, at_place (node_family n (map typed cells) Fs) k t =
    number (meaning t prompt (operation n) (map typed (pick no_cell cells n)) (result n) (at_point (pick no_family Fs n) t)
      (wrap (size (dims (result n))) k))).
    intros t; unfold at_place, node_family, tensor_of; now rewrite pick_families, pick_types.
  split; simpl.
  + apply (holds_weaker _ _ _ R); apply (holds_same _ _ _ same).
    apply (node_follows _ _ _ _ _ _ _ d Pf F); trivial; [|apply wrap_place].
    unfold same_arguments; intros Q; destruct (arguments n) as [|j [|j' [|]]] eqn:E; try discriminate.
    apply Nat.eqb_eq in Q; subst j'; unfold pick; rewrite E; simpl; eauto.
  + intros r' E; destruct (inside_follows _ _ _ _ _ _ _ _ Pf L D (wrap (size (dims (result n))) k) r' E) as [f' [H' E']].
    exists f'; split; [exact H'|]; intros t; now rewrite same.
Qed.

Definition nodes (g : list (node * claim * regularity)) : list node := map (fun p => fst (fst p)) g.

(** What a claim says of a node: nothing, or that every entry that no mask holds is of the class; those that a mask holds
    are the same for all parameters ([claims_hold]), and count as 0 here. *)
Definition class_true (p : node * claim * regularity) (F : family) : Prop :=
  snd (fst p) <> Nothing -> forall k, holds (snd p) (at_place F k).

Lemma walk_sound g : forall cells grades types Fs i cells' grades' before, walked cells grades types Fs ->
  Forall2 class_true before Fs -> check_classes g cells grades i = inl (cells', grades') ->
  Forall2 class_true (rev g ++ before) (families (nodes g) types Fs).
Proof.
induction g as [|[[n c] r] g IH]; intros cells grades types Fs i cells' grades' before W B C; simpl in C |- *.
  injection C as <- <-; auto.
destruct (graded_step n c r cells grades) as [[new grade_]|] eqn:G; [|discriminate].
destruct (graded_step_sound _ _ _ _ _ _ _ _ _ W G) as [W' E]; rewrite <- app_assoc.
apply (IH _ _ _ _ _ _ _ ((n, c, r) :: before) W') with (2 := C); constructor; [|exact B].
intros N k; simpl in N, E |- *; rewrite <- (E N).
destruct W' as [_ W']; inversion W' as [|? ? ? ? ? ? Gd _]; subst; unfold graded_ok in Gd.
destruct (state new) eqn:St; [|apply Gd]; exfalso; unfold graded_step in G.
destruct (step n c cells) as [cell_|] eqn:S; [|discriminate]; destruct c as [|b m]; [congruence|].
destruct (all_lines _); [|discriminate]; destruct (at_least_as_regular _ r); [|discriminate]; injection G as -> _.
unfold step in S; destruct (fits _ _ _); [|discriminate]; simpl in S.
destruct (derive _ _ _ _) as [|d]; [discriminate|]; destruct (_ && _); [|discriminate]; injection S as <-; discriminate.
Qed.

(** If the checker accepts, then for every node of which something is claimed every entry is of the claimed class, as a
    function of all parameters. *)
Theorem classes_hold g cells grades : check_classes g [] [] 0%N = inl (cells, grades) ->
  forall i n b m r, nth_error (rev g) i = Some (n, Claimed b m, r) ->
  forall k, holds r (fun t => number (nth i (values u_ t prompt (nodes g) [] []) no_tensor k)).
Proof.
intros C i n b m r E k.
assert (W : walked [] [] [] []) by (split; [intros t; split; [reflexivity | constructor] | constructor]).
pose proof (walk_sound g _ _ _ _ _ _ _ [] W (Forall2_nil _) C) as T; rewrite app_nil_r in T.
apply (holds_same _ _ (at_place (nth i (families (nodes g) [] []) no_family) k)).
  intros t; unfold at_place; now rewrite <- (nth_at_point _ i t), families_at.
revert i E; generalize (families (nodes g) [] []) as Fs, (rev g) as ps, T; clear; intros Fs ps T.
induction T as [|p F ps Fs H _ IH]; intros [|i] E; simpl in *; try discriminate; [|now apply IH].
injection E as ->; apply H; discriminate.
Qed.

End Smoothness.
