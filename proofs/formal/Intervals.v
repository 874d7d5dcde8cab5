(** * Exact bounds: intervals with rational ends that are strict or not ([proofs.arithmetic.bounds])

    Every operation on bounds that the kernel uses, with the proof that the image of every member lies in the result:
    docs/theory.md, "Bounds".  An end is a rational and whether it is strict (open: not reached); [None] is infinite. *)

From Coq Require Import Reals QArith Qreals Qround List Lra Psatz Bool ZArith.
From Sipit Require Import Elementary.
Import ListNotations.
Local Open Scope R_scope.

Arguments Q2R : simpl never.
Arguments Qplus : simpl never.
Arguments Qmult : simpl never.
Arguments Qopp : simpl never.
Arguments Qinv : simpl never.
Arguments Qle_bool : simpl never.
Arguments Qeq_bool : simpl never.

(** ** Rationals in lowest terms, by the greatest common divisor *)
Definition reduce (q : Q) : Q :=
  let g := Z.gcd (Qnum q) (Zpos (Qden q)) in
  match (Zpos (Qden q) / g)%Z with Zpos d => (Qnum q / g)%Z # d | _ => q end.

Lemma reduce_correct q : (reduce q == q)%Q.
Proof.
unfold reduce; destruct q as [n d]; simpl.
set (g := Z.gcd n (Zpos d)).
assert (g0 : (0 < g)%Z).
  unfold g; pose proof (Z.gcd_nonneg n (Zpos d)); assert (Z.gcd n (Zpos d) <> 0)%Z; [|lia].
  intros E; apply Z.gcd_eq_0_r in E; discriminate.
destruct (Z.gcd_divide_l n (Zpos d)) as [a Ha]; destruct (Z.gcd_divide_r n (Zpos d)) as [b Hb]; fold g in Ha, Hb.
destruct (Zpos d / g)%Z as [|e|e] eqn:E; try reflexivity.
rewrite Hb, Z.div_mul in E by lia; subst b.
unfold Qeq; simpl; rewrite Ha at 1; rewrite Z.div_mul by lia; rewrite Hb, Ha; ring.
Qed.

Definition qadd p q := reduce (p + q).
Definition qmul p q := reduce (p * q).
Definition qopp (q : Q) : Q := Qopp q.
Definition qinv q := reduce (/ q).
Definition qlt p q := negb (Qle_bool q p).

Lemma Q2R_add p q : Q2R (qadd p q) = Q2R p + Q2R q.
Proof. unfold qadd; rewrite (Qeq_eqR _ _ (reduce_correct _)); apply Q2R_plus. Qed.
Lemma Q2R_mul p q : Q2R (qmul p q) = Q2R p * Q2R q.
Proof. unfold qmul; rewrite (Qeq_eqR _ _ (reduce_correct _)); apply Q2R_mult. Qed.
Lemma Q2R_neg q : Q2R (qopp q) = - Q2R q.
Proof. apply Q2R_opp. Qed.
Lemma Q2R_invert q : Q2R q <> 0 -> Q2R (qinv q) = / Q2R q.
Proof.
intros N; unfold qinv; rewrite (Qeq_eqR _ _ (reduce_correct _)); apply Q2R_inv.
intros Z; apply N; rewrite (Qeq_eqR _ _ Z); unfold Q2R; simpl; lra.
Qed.
Lemma Q2R_0 : Q2R 0 = 0. Proof. unfold Q2R; simpl; lra. Qed.
Lemma Q2R_1 : Q2R 1 = 1. Proof. unfold Q2R; simpl; lra. Qed.
Lemma Q2R_Z z : Q2R (inject_Z z) = IZR z.
Proof. unfold Q2R; simpl; lra. Qed.

Lemma Qle_bool_R p q : Qle_bool p q = true -> Q2R p <= Q2R q.
Proof. intros H; apply Qle_Rle, Qle_bool_iff, H. Qed.
Lemma Qle_bool_R_false p q : Qle_bool p q = false -> Q2R q < Q2R p.
Proof. intros H; apply Qlt_Rlt, Qnot_le_lt; intros L; rewrite <- Qle_bool_iff in L; congruence. Qed.
Lemma qlt_R p q : qlt p q = true -> Q2R p < Q2R q.
Proof. unfold qlt; intros H; apply Qle_bool_R_false; destruct (Qle_bool q p); trivial; discriminate. Qed.
Lemma qlt_R_false p q : qlt p q = false -> Q2R q <= Q2R p.
Proof. unfold qlt; intros H; apply Qle_bool_R; destruct (Qle_bool q p); trivial; discriminate. Qed.

(** All comparisons of rationals in the context, as comparisons of reals. *)
Ltac compared :=
  repeat match goal with
  | H : Qle_bool _ _ = true |- _ => apply Qle_bool_R in H
  | H : Qle_bool _ _ = false |- _ => apply Qle_bool_R_false in H
  | H : qlt _ _ = true |- _ => apply qlt_R in H
  | H : qlt _ _ = false |- _ => apply qlt_R_false in H
  end.
Ltac rational := rewrite ?Q2R_neg, ?Q2R_add, ?Q2R_mul, ?Q2R_neg, ?Q2R_0, ?Q2R_1, ?Q2R_Z in *.

(** ** Ends and intervals *)
Definition end_ := option (Q * bool).
Record bounds := Bounds { low : end_; high : end_ }.

Definition above (e : end_) (x : R) : Prop :=
  match e with None => True | Some (q, true) => Q2R q < x | Some (q, false) => Q2R q <= x end.
Definition below (e : end_) (x : R) : Prop :=
  match e with None => True | Some (q, true) => x < Q2R q | Some (q, false) => x <= Q2R q end.
Definition within (b : bounds) (x : R) : Prop := above (low b) x /\ below (high b) x.

Definition everything := Bounds None None.
Definition exactly (q : Q) := Bounds (Some (q, false)) (Some (q, false)).

Lemma everything_sound x : within everything x.
Proof. split; exact I. Qed.
Lemma exactly_sound q : within (exactly q) (Q2R q).
Proof. split; simpl; apply Rle_refl. Qed.

Lemma above_le p s x : above (Some (p, s)) x -> Q2R p <= x.
Proof. destruct s; simpl; lra. Qed.
Lemma below_le p s x : below (Some (p, s)) x -> x <= Q2R p.
Proof. destruct s; simpl; lra. Qed.

(** *** What an interval says *)
Definition positive (b : bounds) : bool :=
  match low b with Some (p, s) => qlt 0 p || (Qle_bool 0 p && s) | None => false end.
Definition nonnegative (b : bounds) : bool := match low b with Some (p, _) => Qle_bool 0 p | None => false end.
Definition at_most (q : Q) (b : bounds) : bool := match high b with Some (p, _) => Qle_bool p q | None => false end.
Definition at_least (q : Q) (b : bounds) : bool := match low b with Some (p, _) => Qle_bool q p | None => false end.

Lemma positive_sound b x : positive b = true -> within b x -> 0 < x.
Proof.
unfold positive; intros H [A _]; destruct (low b) as [[p s]|]; try discriminate.
apply orb_true_iff in H as [H|H]; [|apply andb_true_iff in H as [H S]; subst s]; compared; rational.
  apply above_le in A; lra.
simpl in A; lra.
Qed.
Lemma nonnegative_sound b x : nonnegative b = true -> within b x -> 0 <= x.
Proof.
unfold nonnegative; intros H [A _]; destruct (low b) as [[p s]|]; try discriminate.
compared; rational; apply above_le in A; lra.
Qed.
Lemma at_most_sound q b x : at_most q b = true -> within b x -> x <= Q2R q.
Proof.
unfold at_most; intros H [_ A]; destruct (high b) as [[p s]|]; try discriminate.
compared; apply below_le in A; lra.
Qed.
Lemma at_least_sound q b x : at_least q b = true -> within b x -> Q2R q <= x.
Proof.
unfold at_least; intros H [A _]; destruct (low b) as [[p s]|]; try discriminate.
compared; apply above_le in A; lra.
Qed.

(** *** What follows from what: [weaker claimed derived] if every member of the derived interval is in the claimed one *)
Definition weaker_low (c d : end_) : bool :=
  match c, d with
  | None, _ => true
  | Some _, None => false
  | Some (p, s), Some (q, t) => qlt p q || (Qle_bool p q && (t || negb s))
  end.
Definition weaker_high (c d : end_) : bool :=
  match c, d with
  | None, _ => true
  | Some _, None => false
  | Some (p, s), Some (q, t) => qlt q p || (Qle_bool q p && (t || negb s))
  end.
Definition weaker (c d : bounds) : bool := weaker_low (low c) (low d) && weaker_high (high c) (high d).

Lemma weaker_sound c d x : weaker c d = true -> within d x -> within c x.
Proof.
unfold weaker; intros H [A B]; apply andb_true_iff in H as [H K]; split.
- destruct (low c) as [[p s]|]; [|exact I]; destruct (low d) as [[q t]|]; [|discriminate]; simpl in H.
  apply orb_true_iff in H as [H|H]; [|apply andb_true_iff in H as [H S]; apply orb_true_iff in S as [S|S]];
    compared; destruct s, t; try discriminate; simpl in *; lra.
- destruct (high c) as [[p s]|]; [|exact I]; destruct (high d) as [[q t]|]; [|discriminate]; simpl in K.
  apply orb_true_iff in K as [K|K]; [|apply andb_true_iff in K as [K S]; apply orb_true_iff in S as [S|S]];
    compared; destruct s, t; try discriminate; simpl in *; lra.
Qed.

(** ** Sums and differences *)
Definition neg_end (e : end_) : end_ := match e with Some (q, s) => Some (qopp q, s) | None => None end.
Definition neg (b : bounds) := Bounds (neg_end (high b)) (neg_end (low b)).

Lemma neg_low e x : below e x -> above (neg_end e) (- x).
Proof. destruct e as [[q []]|]; simpl; trivial; rational; lra. Qed.
Lemma neg_high e x : above e x -> below (neg_end e) (- x).
Proof. destruct e as [[q []]|]; simpl; trivial; rational; lra. Qed.
Lemma neg_sound b x : within b x -> within (neg b) (- x).
Proof. intros [A B]; split; [apply neg_low, B | apply neg_high, A]. Qed.

Definition add_end (a b : end_) : end_ :=
  match a, b with Some (p, s), Some (q, t) => Some (qadd p q, s || t) | _, _ => None end.
Definition add (a b : bounds) := Bounds (add_end (low a) (low b)) (add_end (high a) (high b)).

Lemma add_sound a b x y : within a x -> within b y -> within (add a b) (x + y).
Proof.
intros [la ha] [lb hb]; split; simpl.
- destruct (low a) as [[p []]|], (low b) as [[q []]|]; simpl in *; trivial; rational; lra.
- destruct (high a) as [[p []]|], (high b) as [[q []]|]; simpl in *; trivial; rational; lra.
Qed.

Definition sub (a b : bounds) := add a (neg b).
Lemma sub_sound a b x y : within a x -> within b y -> within (sub a b) (x - y).
Proof. intros A B; apply add_sound; [exact A | apply neg_sound, B]. Qed.

Definition negative (b : bounds) := positive (neg b).
Lemma negative_sound b x : negative b = true -> within b x -> x < 0.
Proof. intros H A; pose proof (positive_sound _ _ H (neg_sound _ _ A)); lra. Qed.

Definition above_value (q : Q) (b : bounds) := positive (sub b (exactly q)).
Lemma above_value_sound q b x : above_value q b = true -> within b x -> Q2R q < x.
Proof. intros H A; pose proof (positive_sound _ _ H (sub_sound _ _ _ _ A (exactly_sound q))); lra. Qed.

(** ** Hull, maximum, minimum, clamp *)
Definition lower_end (a b : end_) : end_ :=
  match a, b with
  | Some (p, s), Some (q, t) => if qlt p q then a else if qlt q p then b else Some (p, s && t)
  | _, _ => None
  end.
Definition upper_end (a b : end_) : end_ :=
  match a, b with
  | Some (p, s), Some (q, t) => if qlt p q then b else if qlt q p then a else Some (p, s && t)
  | _, _ => None
  end.
Definition hull (a b : bounds) := Bounds (lower_end (low a) (low b)) (upper_end (high a) (high b)).

Lemma hull_sound a b x : within a x \/ within b x -> within (hull a b) x.
Proof.
intros H; split; simpl.
- destruct (low a) as [[p s]|] eqn:A; [|exact I]; destruct (low b) as [[q t]|] eqn:B; [|exact I]; simpl.
  destruct (qlt p q) eqn:E; [|destruct (qlt q p) eqn:F]; compared;
    destruct H as [[H _]|[H _]]; rewrite ?A, ?B in H; destruct s, t; simpl in *; lra.
- destruct (high a) as [[p s]|] eqn:A; [|exact I]; destruct (high b) as [[q t]|] eqn:B; [|exact I]; simpl.
  destruct (qlt p q) eqn:E; [|destruct (qlt q p) eqn:F]; compared;
    destruct H as [[_ H]|[_ H]]; rewrite ?A, ?B in H; destruct s, t; simpl in *; lra.
Qed.

(** The larger of two lower ends, strict where either is: max (x, y) lies above both. *)
Definition best_end (a b : end_) : end_ :=
  match a, b with
  | Some (p, s), Some (q, t) => if qlt p q then b else if qlt q p then a else Some (p, s || t)
  | Some _, None => a
  | None, _ => b
  end.
Definition max_bounds (a b : bounds) := Bounds (best_end (low a) (low b)) (upper_end (high a) (high b)).
Definition min_bounds (a b : bounds) := neg (max_bounds (neg a) (neg b)).

Lemma max_sound a b x y : within a x -> within b y -> within (max_bounds a b) (Rmax x y).
Proof.
intros [la ha] [lb hb]; pose proof (Rmax_l x y); pose proof (Rmax_r x y); split; simpl.
- destruct (low a) as [[p s]|], (low b) as [[q t]|]; simpl; trivial;
    try (destruct s; simpl in *; lra); try (destruct t; simpl in *; lra).
  destruct (qlt p q) eqn:E; [|destruct (qlt q p) eqn:F]; compared; destruct s, t; simpl in *; lra.
- destruct (high a) as [[p s]|]; [|exact I]; destruct (high b) as [[q t]|]; [|exact I]; simpl.
  destruct (qlt p q) eqn:E; [|destruct (qlt q p) eqn:F]; compared; destruct s, t; simpl in *;
    apply Rmax_case; lra.
Qed.

Lemma min_sound a b x y : within a x -> within b y -> within (min_bounds a b) (Rmin x y).
Proof.
intros A B; replace (Rmin x y) with (- Rmax (- x) (- y)).
  apply neg_sound, max_sound; now apply neg_sound.
unfold Rmax, Rmin; destruct (Rle_dec (- x) (- y)), (Rle_dec x y); lra.
Qed.

(** min (max (x, lo), hi), with either limit missing.  An open end that meets a limit is reached there: the clamp of
    e^-1 at 0 from above is 0, and the bounds of the result hold it. *)
Definition clamp_bounds (lo hi : option Q) (b : bounds) : bounds :=
  let raised := match lo with Some q => max_bounds b (exactly q) | None => b end in
  match hi with Some q => min_bounds raised (exactly q) | None => raised end.
Definition clamp (lo hi : option Q) (x : R) : R :=
  let raised := match lo with Some q => Rmax x (Q2R q) | None => x end in
  match hi with Some q => Rmin raised (Q2R q) | None => raised end.

Theorem clamp_sound lo hi b x : within b x -> within (clamp_bounds lo hi b) (clamp lo hi x).
Proof.
intros A; unfold clamp_bounds, clamp.
assert (B : within (match lo with Some q => max_bounds b (exactly q) | None => b end)
  (match lo with Some q => Rmax x (Q2R q) | None => x end)).
  destruct lo; [apply max_sound; [exact A | apply exactly_sound] | exact A].
destruct hi; [apply min_sound; [exact B | apply exactly_sound] | exact B].
Qed.

(** The rule that kept an open end at the limit was wrong: e^-1 is within the open bounds (0, oo), its clamp at 0 is not. *)
Theorem clamp_open_end_is_wrong : exists x, within (Bounds (Some (0%Q, true)) None) x /\
  ~ within (Bounds (Some (0%Q, true)) (Some (0%Q, false))) (clamp None (Some 0%Q) x).
Proof.
exists (exp (-1)); split; [split; simpl; trivial; rational; apply exp_pos|].
unfold clamp; intros [A _]; simpl in A; rational; pose proof (exp_pos (-1)).
rewrite Rmin_right in A; lra.
Qed.

(** ** Products *)

(** A corner: finite (value and whether it is reached), or infinite of a sign. *)
Inductive corner := Finite (q : Q) (reached : bool) | Infinite (plus : bool).

Definition sign_positive (a : Q) : bool := qlt 0 a.

(** An end as (value or None, whether it is the upper one, whether it is reached). *)
Definition corner_of (a : end_) (ua : bool) (b : end_) (ub : bool) : corner :=
  let zero e := match e with Some (q, _) => Qle_bool q 0 && Qle_bool 0 q | None => false end in
  let reached e := match e with Some (_, s) => negb s | None => false end in
  if zero a || zero b then Finite 0 ((zero a && reached a) || (zero b && reached b))
  else match a, b with
  | Some (p, s), Some (q, t) => Finite (qmul p q) (negb s && negb t)
  | _, _ =>
      let up e u := match e with Some (q, _) => sign_positive q | None => u end in
      Infinite (Bool.eqb (up a ua) (up b ub))
  end.

Definition corners (a b : bounds) : list corner :=
  [corner_of (low a) false (low b) false; corner_of (low a) false (high b) true;
   corner_of (high a) true (low b) false; corner_of (high a) true (high b) true].

Fixpoint least (cs : list corner) : end_ * bool :=  (* the end, and whether a finite corner was seen *)
  match cs with
  | [] => (None, false)
  | c :: rest =>
      let (e, seen) := least rest in
      match c with
      | Infinite true => (e, seen)
      | Infinite false => (None, true)
      | Finite q r =>
          if seen then
            match e with
            | None => (None, true)
            | Some (p, s) => (if qlt q p then Some (q, negb r) else if qlt p q then e else Some (p, s && negb r), true)
            end
          else (Some (q, negb r), true)
      end
  end.
Definition least_end (cs : list corner) : end_ := fst (least cs).

Definition covers (c : corner) (z : R) : Prop :=
  match c with
  | Infinite plus => plus = false
  | Finite q r => Q2R q < z \/ (Q2R q = z /\ r = true)
  end.

Lemma least_covers cs z : (exists c, In c cs /\ covers c z) -> above (fst (least cs)) z /\ snd (least cs) = true.
Proof.
induction cs as [|c cs IH]; intros [d [D C]]; [destruct D|]; simpl in *.
destruct (least cs) as [e seen] eqn:L; destruct D as [<-|D].
- destruct c as [q r|[]]; simpl in C; [|discriminate|simpl; auto].
  destruct seen; [|simpl; split; trivial; destruct r; simpl; destruct C as [C|[C E]]; try discriminate; lra].
  destruct e as [[p s]|]; [|simpl; auto].
  split; [|reflexivity]; destruct (qlt q p) eqn:E; [|destruct (qlt p q) eqn:F]; compared; simpl;
    destruct C as [C|[C K]]; subst; destruct s; try destruct r; simpl; try discriminate; lra.
- destruct (IH (ex_intro _ d (conj D C))) as [A S]; simpl in A, S; subst seen.
  destruct c as [q r|[]]; simpl; auto.
  destruct e as [[p s]|]; [|simpl; auto].
  split; [|reflexivity]; destruct (qlt q p) eqn:E; [|destruct (qlt p q) eqn:F]; compared;
    destruct s, r; simpl in *; lra.
Qed.

Definition neg_corner (c : corner) := match c with Finite q r => Finite (qopp q) r | Infinite p => Infinite (negb p) end.

Definition mul (a b : bounds) : bounds :=
  Bounds (least_end (corners a b)) (neg_end (least_end (map neg_corner (corners a b)))).

(** Two corners that cover the same numbers. *)
Definition alike (c d : corner) : Prop := forall z, covers c z <-> covers d z.

Lemma zero_case (q : Q) : Qle_bool q 0 && Qle_bool 0 q = true -> Q2R q = 0.
Proof. intros H; apply andb_true_iff in H as [H K]; compared; rational; lra. Qed.
Lemma zero_case_false (q : Q) : Qle_bool q 0 && Qle_bool 0 q = false -> Q2R q <> 0.
Proof. intros H; apply andb_false_iff in H as [H|H]; compared; rational; lra. Qed.

(** The facts about one pair of ends, whatever booleans its definition went through. *)
Lemma corner_finite p s q t ua ub z :
  Q2R p * Q2R q < z \/ (Q2R p * Q2R q = z /\ (Q2R p <> 0 -> Q2R q <> 0 -> s = false /\ t = false) /\
    (Q2R p = 0 -> Q2R q <> 0 -> s = false) /\ (Q2R q = 0 -> Q2R p <> 0 -> t = false) /\
    (Q2R p = 0 -> Q2R q = 0 -> s = false \/ t = false)) ->
  covers (corner_of (Some (p, s)) ua (Some (q, t)) ub) z.
Proof.
intros H; unfold corner_of.
destruct (Qle_bool p 0 && Qle_bool 0 p) eqn:P; destruct (Qle_bool q 0 && Qle_bool 0 q) eqn:K;
  [apply zero_case in P | apply zero_case in P | apply zero_case_false in P | apply zero_case_false in P];
  [apply zero_case in K | apply zero_case_false in K | apply zero_case in K | apply zero_case_false in K];
  simpl; rational; destruct H as [H|[H [H1 [H2 [H3 H4]]]]]; try (left; nra); right; split; try nra.
- destruct (H4 P K) as [-> | ->]; simpl; [reflexivity | apply orb_true_r].
- rewrite (H2 P K); reflexivity.
- rewrite (H3 K P); reflexivity.
- destruct (H1 P K) as [-> ->]; reflexivity.
Qed.

(** An infinite end times an end that is not zero is infinite, of the sign that follows. *)
Lemma corner_infinite_l ua q t ub z : Q2R q <> 0 -> (ua = true -> Q2R q < 0) -> (ua = false -> 0 < Q2R q) ->
  covers (corner_of None ua (Some (q, t)) ub) z.
Proof.
intros N U D; unfold corner_of; destruct (Qle_bool q 0 && Qle_bool 0 q) eqn:K.
  apply zero_case in K; contradiction.
simpl; unfold sign_positive; destruct (qlt 0 q) eqn:E; compared; rational; destruct ua; simpl; trivial.
  specialize (U eq_refl); lra.
specialize (D eq_refl); lra.
Qed.
Lemma corner_infinite_r p s ua ub z : Q2R p <> 0 -> (ub = true -> Q2R p < 0) -> (ub = false -> 0 < Q2R p) ->
  covers (corner_of (Some (p, s)) ua None ub) z.
Proof.
intros N U D; unfold corner_of; destruct (Qle_bool p 0 && Qle_bool 0 p) eqn:K.
  apply zero_case in K; contradiction.
simpl; unfold sign_positive; destruct (qlt 0 p) eqn:E; compared; rational; destruct ub; simpl; trivial.
  specialize (U eq_refl); lra.
specialize (D eq_refl); lra.
Qed.
Lemma corner_zero_l p ua b ub z : Q2R p = 0 -> 0 <= z -> covers (corner_of (Some (p, false)) ua b ub) z.
Proof.
intros Z H; unfold corner_of; destruct (Qle_bool p 0 && Qle_bool 0 p) eqn:K;
  [|apply zero_case_false in K; contradiction].
simpl; rational; destruct (Req_dec z 0); [right | left; lra]; split; [lra | reflexivity].
Qed.
Lemma corner_zero_r a ua q ub z : Q2R q = 0 -> 0 <= z -> covers (corner_of a ua (Some (q, false)) ub) z.
Proof.
intros Z H; unfold corner_of; destruct (Qle_bool q 0 && Qle_bool 0 q) eqn:K;
  [|apply zero_case_false in K; contradiction].
rewrite orb_true_r; simpl; rational; destruct (Req_dec z 0); [right | left; lra]; split; [lra | apply orb_true_r].
Qed.

Lemma corner_zero_lt p s ua b ub z : Q2R p = 0 -> 0 < z -> covers (corner_of (Some (p, s)) ua b ub) z.
Proof.
intros Z H; unfold corner_of; destruct (Qle_bool p 0 && Qle_bool 0 p) eqn:K;
  [|apply zero_case_false in K; contradiction].
simpl; rational; left; lra.
Qed.

(** For every point of two intervals with y >= 0, some corner is at most x y. *)
Lemma corner_below a b x y : 0 <= y -> within a x -> within b y -> exists c, In c (corners a b) /\ covers c (x * y).
Proof.
intros y0 [xa xb] [ya yb]; unfold corners; simpl.
destruct (low a) as [[p s]|] eqn:LA.
- pose proof (above_le _ _ _ xa) as px; destruct (Rtotal_order (Q2R p) 0) as [neg|[zero|pos]].
  + (* p < 0: the corner with the upper end of b *)
    exists (corner_of (Some (p, s)) false (high b) true); split; [auto|].
    destruct (high b) as [[u v]|]; [|apply corner_infinite_r; [lra | lra | discriminate]].
    pose proof (below_le _ _ _ yb) as yu; apply corner_finite.
    destruct (Rle_lt_or_eq_dec (Q2R p * Q2R u) (x * y)) as [lt|eq]; [nra | now left | right].
    split; [exact eq|]; split; [|split; [|split]]; try lra.
    * intros _ U; assert (0 < Q2R u) by lra; assert (0 < y) by (destruct (Req_dec y 0); [subst y; nra | lra]).
      destruct s; [simpl in xa; exfalso; nra|]; destruct v; [simpl in yb; exfalso; nra | auto].
    * intros U _; destruct v; [simpl in yb; exfalso; nra | reflexivity].
  + destruct s.
    * simpl in xa; destruct (Req_dec y 0) as [Y|Y].
      -- destruct (low b) as [[q t]|].
         ++ pose proof (above_le _ _ _ ya) as qy; destruct (Rle_lt_or_eq_dec (Q2R q) 0) as [Q|Q]; [lra| |].
            ** exists (corner_of (high a) true (Some (q, t)) false); split; [auto|].
               destruct (high a) as [[r w]|]; [|apply corner_infinite_l; [lra | lra | discriminate]].
               pose proof (below_le _ _ _ xb); apply corner_finite; left; nra.
            ** destruct t; [simpl in ya; lra|].
               exists (corner_of (Some (p, true)) false (Some (q, false)) false); split; [auto|].
               apply corner_zero_r; [exact Q | nra].
         ++ exists (corner_of (high a) true None false); split; [auto|].
            destruct (high a) as [[r w]|]; [|reflexivity].
            pose proof (below_le _ _ _ xb); apply corner_infinite_r; [lra | discriminate | lra].
      -- exists (corner_of (Some (p, true)) false (low b) false); split; [auto|].
         apply corner_zero_lt; [exact zero | nra].
    * exists (corner_of (Some (p, false)) false (low b) false); split; [auto|].
      apply corner_zero_l; [exact zero | nra].
  + (* p > 0: the corner with the lower end of b *)
    exists (corner_of (Some (p, s)) false (low b) false); split; [auto|].
    destruct (low b) as [[q t]|]; [|apply corner_infinite_r; [lra | discriminate | lra]].
    pose proof (above_le _ _ _ ya) as qy; apply corner_finite.
    destruct (Rle_lt_or_eq_dec (Q2R p * Q2R q) (x * y)) as [lt|eq]; [nra | now left | right].
    split; [exact eq|]; split; [|split; [|split]]; try lra.
    * intros _ U; destruct (Req_dec y 0) as [Y|Y].
        exfalso; apply U, (Rmult_eq_reg_l (Q2R p)); [subst y; lra | lra].
      assert (0 < y) by lra; pose proof (Rmult_le_compat_r y (Q2R p) x ltac:(lra) px).
      pose proof (Rmult_le_compat_l (Q2R p) (Q2R q) y ltac:(lra) qy).
      destruct s; [simpl in xa; pose proof (Rmult_lt_compat_r y (Q2R p) x ltac:(lra) xa); lra|].
      destruct t; [simpl in ya; pose proof (Rmult_lt_compat_l (Q2R p) (Q2R q) y ltac:(lra) ya); lra | auto].
    * intros U _; destruct t; [simpl in ya; exfalso; nra | reflexivity].
- exists (corner_of None false (high b) true); split; [auto|].
  destruct (high b) as [[u v]|]; [|reflexivity].
  pose proof (below_le _ _ _ yb) as yu; destruct (Rle_lt_or_eq_dec 0 (Q2R u)) as [U|U]; [lra| |].
    apply corner_infinite_l; [lra | discriminate | lra].
  destruct v; [simpl in yb; lra|]; apply corner_zero_r; [lra | replace y with 0 by lra; lra].
Qed.

(** Changing both signs changes no corner. *)
Lemma corner_of_neg a ua b ub :
  alike (corner_of (neg_end a) (negb ua) (neg_end b) (negb ub)) (corner_of a ua b ub).
Proof.
assert (Z : forall q, Qle_bool (qopp q) 0 && Qle_bool 0 (qopp q) = Qle_bool q 0 && Qle_bool 0 q).
  intros q; destruct (Qle_bool q 0 && Qle_bool 0 q) eqn:K; [apply zero_case in K | apply zero_case_false in K].
    apply andb_true_iff; split; destruct (Qle_bool _ _) eqn:E; trivial; compared; rational; lra.
  apply andb_false_iff; destruct (Qle_bool (qopp q) 0) eqn:E; [right | now left].
  destruct (Qle_bool 0 (qopp q)) eqn:F; trivial; compared; rational; lra.
assert (S : forall q, (Qle_bool q 0 && Qle_bool 0 q) = false -> sign_positive (qopp q) = negb (sign_positive q)).
  intros q K; apply zero_case_false in K; unfold sign_positive.
  destruct (qlt 0 q) eqn:E, (qlt 0 (qopp q)) eqn:F; trivial; compared; rational; lra.
intros z; destruct a as [[p s]|], b as [[q t]|]; unfold corner_of; simpl; rewrite ?Z.
- destruct (_ && _) eqn:P; [reflexivity|]; destruct (Qle_bool q 0 && Qle_bool 0 q) eqn:K; [reflexivity|].
  simpl; rational; replace (- Q2R p * - Q2R q) with (Q2R p * Q2R q) by ring; reflexivity.
- rewrite !orb_false_r; destruct (_ && _) eqn:P; [reflexivity|]; simpl; rewrite (S p P).
  destruct (sign_positive p), ub; reflexivity.
- destruct (_ && _) eqn:P; [reflexivity|]; simpl; rewrite (S q P).
  destruct (sign_positive q), ua; reflexivity.
- destruct ua, ub; reflexivity.
Qed.

(** Changing one sign turns a corner over. *)
Lemma corner_of_neg_l a ua b ub :
  alike (corner_of (neg_end a) (negb ua) b ub) (neg_corner (corner_of a ua b ub)).
Proof.
assert (Z : forall q, Qle_bool (qopp q) 0 && Qle_bool 0 (qopp q) = Qle_bool q 0 && Qle_bool 0 q).
  intros q; destruct (Qle_bool q 0 && Qle_bool 0 q) eqn:K; [apply zero_case in K | apply zero_case_false in K].
    apply andb_true_iff; split; destruct (Qle_bool _ _) eqn:E; trivial; compared; rational; lra.
  apply andb_false_iff; destruct (Qle_bool (qopp q) 0) eqn:E; [right | now left].
  destruct (Qle_bool 0 (qopp q)) eqn:F; trivial; compared; rational; lra.
assert (S : forall q, (Qle_bool q 0 && Qle_bool 0 q) = false -> sign_positive (qopp q) = negb (sign_positive q)).
  intros q K; apply zero_case_false in K; unfold sign_positive.
  destruct (qlt 0 q) eqn:E, (qlt 0 (qopp q)) eqn:F; trivial; compared; rational; lra.
intros z; destruct a as [[p s]|], b as [[q t]|]; unfold corner_of; simpl; rewrite ?Z.
- destruct (_ || _) eqn:P; simpl; rational; [rewrite Ropp_0; reflexivity|].
  replace (- (Q2R p * Q2R q)) with (- Q2R p * Q2R q) by ring; reflexivity.
- rewrite !orb_false_r; destruct (_ && _) eqn:P; simpl; rational; [rewrite Ropp_0; reflexivity|].
  rewrite (S p P); destruct (sign_positive p), ub; reflexivity.
- destruct (_ && _) eqn:P; simpl; rational; [rewrite Ropp_0; reflexivity|].
  destruct (sign_positive q), ua; reflexivity.
- destruct ua, ub; reflexivity.
Qed.

Lemma some_corner_below a b x y : within a x -> within b y -> exists c, In c (corners a b) /\ covers c (x * y).
Proof.
intros A B; destruct (Rle_or_lt 0 y) as [y0|y0]; [exact (corner_below a b x y y0 A B)|].
destruct (corner_below (neg a) (neg b) (- x) (- y) ltac:(lra) (neg_sound _ _ A) (neg_sound _ _ B)) as [c [C V]].
replace (- x * - y) with (x * y) in V by ring.
unfold corners, neg in *; simpl in *.
destruct C as [<-|[<-|[<-|[<-|[]]]]];
  [apply (corner_of_neg (high a) true (high b) true) in V | apply (corner_of_neg (high a) true (low b) false) in V |
   apply (corner_of_neg (low a) false (high b) true) in V | apply (corner_of_neg (low a) false (low b) false) in V];
  eexists; (split; [|exact V]); simpl; auto.
Qed.

Theorem mul_sound a b x y : within a x -> within b y -> within (mul a b) (x * y).
Proof.
intros A B; split; simpl.
  exact (proj1 (least_covers _ _ (some_corner_below a b x y A B))).
replace (x * y) with (- (- x * y)) by ring; apply neg_high.
apply (fun H => proj1 (least_covers _ _ H)).
destruct (some_corner_below (neg a) b (- x) y (neg_sound _ _ A) B) as [c [C V]].
unfold corners, neg in C; simpl in C; simpl.
destruct C as [<-|[<-|[<-|[<-|[]]]]];
  [apply (corner_of_neg_l (high a) true (low b) false) in V | apply (corner_of_neg_l (high a) true (high b) true) in V |
   apply (corner_of_neg_l (low a) false (low b) false) in V | apply (corner_of_neg_l (low a) false (high b) true) in V];
  eexists; (split; [|exact V]); simpl; auto.
Qed.

Definition scaled (q : Q) (b : bounds) := mul b (exactly q).
Lemma scaled_sound q b x : within b x -> within (scaled q b) (x * Q2R q).
Proof. intros A; apply mul_sound; [exact A | apply exactly_sound]. Qed.

(** ** Reciprocals and quotients *)
Definition reciprocal_positive (b : bounds) : bounds :=
  Bounds (match high b with Some (q, s) => Some (qinv q, s) | None => Some (0%Q, true) end)
    (match low b with Some (p, s) => if Qle_bool p 0 then None else Some (qinv p, s) | None => None end).
Definition reciprocal (b : bounds) : bounds :=
  if negative b then neg (reciprocal_positive (neg b))
  else if positive b then reciprocal_positive b else everything.

Lemma reciprocal_positive_sound b x : 0 < x -> within b x -> within (reciprocal_positive b) (/ x).
Proof.
intros X [la ha]; split; simpl.
- destruct (high b) as [[q s]|]; [|simpl; rational; now apply Rinv_0_lt_compat].
  pose proof (below_le _ _ _ ha) as le; destruct s; simpl in *; rewrite Q2R_invert by lra.
  + apply Rinv_lt_contravar; [nra | lra].
  + apply Rinv_le_contravar; lra.
- destruct (low b) as [[p s]|]; [|exact I].
  destruct (Qle_bool p 0) eqn:P; [exact I|]; compared; rational.
  destruct s; simpl in *; rewrite Q2R_invert by lra.
  + apply Rinv_lt_contravar; [nra | lra].
  + apply Rinv_le_contravar; lra.
Qed.

Theorem reciprocal_sound b x : x <> 0 -> within b x -> within (reciprocal b) (/ x).
Proof.
intros N A; unfold reciprocal.
destruct (negative b) eqn:G; [|destruct (positive b) eqn:P; [|apply everything_sound]].
- pose proof (negative_sound _ _ G A); replace (/ x) with (- / - x) by (field; lra).
  apply neg_sound, reciprocal_positive_sound; [lra | now apply neg_sound].
- apply reciprocal_positive_sound; [exact (positive_sound _ _ P A) | exact A].
Qed.

Definition div (a b : bounds) := mul a (reciprocal b).
Theorem div_sound a b x y : y <> 0 -> within a x -> within b y -> within (div a b) (x / y).
Proof. intros N A B; apply mul_sound; [exact A | now apply reciprocal_sound]. Qed.

(** ** Sums and means of several members *)
Definition total (xs : list R) : R := fold_right Rplus 0 xs.

Lemma total_above q s xs : xs <> [] -> Forall (fun x => above (Some (q, s)) x) xs ->
  above (Some (q, s)) (total xs / INR (length xs)).
Proof.
intros N A; assert (H : INR (length xs) * Q2R q <= total xs /\ (s = true -> INR (length xs) * Q2R q < total xs)).
  destruct xs as [|x xs]; [contradiction|]; clear N; revert x A; induction xs as [|y xs IH]; intros x A.
    inversion_clear A; simpl; destruct s; simpl in *; split; try lra; discriminate.
  inversion_clear A as [|? ? X Y]; specialize (IH y Y); pose proof (above_le _ _ _ X) as le.
  change (total (x :: y :: xs)) with (x + total (y :: xs)).
  change (length (x :: y :: xs)) with (S (length (y :: xs))); rewrite S_INR; destruct IH as [IH1 IH2].
  split; [lra|]; intros ->; specialize (IH2 eq_refl); simpl in X; lra.
assert (P : 0 < INR (length xs)) by (apply lt_0_INR; destruct xs; [contradiction | simpl; lia]).
assert (E : total xs = total xs / INR (length xs) * INR (length xs)) by (field; lra).
set (m := total xs / INR (length xs)) in *; destruct s; simpl; destruct H as [H K]; [specialize (K eq_refl)|]; nra.
Qed.

Lemma total_opp xs : total (map Ropp xs) = - total xs.
Proof. induction xs as [|x xs IH]; simpl; [lra | rewrite IH; lra]. Qed.

Theorem mean_sound b xs : xs <> [] -> Forall (within b) xs -> within b (total xs / INR (length xs)).
Proof.
intros N A; split.
- destruct (low b) as [[q s]|] eqn:L; [|exact I]; apply total_above; [exact N|].
  revert A; apply Forall_impl; intros x [H _]; now rewrite L in H.
- destruct (high b) as [[q s]|] eqn:L; [|exact I].
  pose proof (total_above (qopp q) s (map Ropp xs)) as H; rewrite total_opp, map_length in H.
  assert (K : above (Some (qopp q, s)) (- total xs / INR (length xs))).
    apply H; [destruct xs; [contradiction | discriminate]|].
    apply Forall_map; revert A; apply Forall_impl; intros x [_ B]; rewrite L in B.
    exact (neg_low (Some (q, s)) x B).
  replace (- total xs / INR (length xs)) with (- (total xs / INR (length xs))) in K by (unfold Rdiv; ring).
  destruct s; simpl in *; rational; lra.
Qed.

(** A sum of n members, n >= 1; of none it is 0. *)
Definition sum_bounds (n : Z) (b : bounds) : bounds := if Z.eqb n 0 then exactly 0 else scaled (inject_Z n) b.

Theorem sum_sound b xs : Forall (within b) xs -> within (sum_bounds (Z.of_nat (length xs)) b) (total xs).
Proof.
intros A; unfold sum_bounds; destruct xs as [|x xs]; [simpl; rewrite <- Q2R_0; apply exactly_sound|].
simpl (Z.eqb _ _); cbv iota beta.
assert (P : 0 < INR (length (x :: xs))) by (apply lt_0_INR; simpl; lia).
replace (total (x :: xs)) with (total (x :: xs) / INR (length (x :: xs)) * Q2R (inject_Z (Z.of_nat (length (x :: xs))))).
  apply scaled_sound, mean_sound; [discriminate | exact A].
rewrite Q2R_Z, <- INR_IZR_INZ; field; lra.
Qed.

Lemma convex b x y z : within b x -> within b z -> x <= y <= z \/ z <= y <= x -> within b y.
Proof.
intros [A B] [C D] H; split.
- destruct (low b) as [[q []]|]; simpl in *; trivial; lra.
- destruct (high b) as [[q []]|]; simpl in *; trivial; lra.
Qed.

(** The first j of n members summed, j >= 1: between their mean and n times that. *)
Definition partial_sum_bounds (n : Z) (b : bounds) : bounds := hull b (scaled (inject_Z (Z.max n 1)) b).

Theorem partial_sum_sound b n xs : xs <> [] -> (Z.of_nat (length xs) <= n)%Z -> Forall (within b) xs ->
  within (partial_sum_bounds n b) (total xs).
Proof.
intros N le A; pose proof (mean_sound b xs N A) as M.
assert (L : (1 <= length xs)%nat) by (destruct xs; [contradiction | simpl; lia]).
assert (P : 1 <= INR (length xs)) by (change 1 with (INR 1); now apply le_INR).
assert (K : INR (length xs) <= IZR (Z.max n 1)) by (rewrite INR_IZR_INZ; apply IZR_le; lia).
assert (E : total xs = total xs / INR (length xs) * INR (length xs)) by (field; lra).
set (m := total xs / INR (length xs)) in *.
apply convex with (x := m) (z := m * IZR (Z.max n 1)).
- apply hull_sound; now left.
- apply hull_sound; right; rewrite <- Q2R_Z; now apply scaled_sound.
- destruct (Rle_or_lt 0 m); [left | right]; rewrite E; split; nra.
Qed.

(** ** Powers *)
Fixpoint qpow (q : Q) (n : nat) : Q := match n with O => 1%Q | S n => qmul q (qpow q n) end.
Lemma Q2R_pow q n : Q2R (qpow q n) = Q2R q ^ n.
Proof. induction n as [|n IH]; simpl; rational; [reflexivity | now rewrite IH]. Qed.

Definition power_bounds (n : nat) (b : bounds) : bounds :=
  match n with
  | O => exactly 1
  | _ =>
      match low b with
      | Some (p, s) =>
          if Qle_bool 0 p
          then Bounds (Some (qpow p n, s)) (match high b with Some (q, t) => Some (qpow q n, t) | None => None end)
          else if Nat.even n then Bounds (Some (0%Q, negative b)) None else everything
      | None => if Nat.even n then Bounds (Some (0%Q, negative b)) None else everything
      end
  end.

Lemma pow_lt_pow x y n : 0 <= x -> x < y -> x ^ S n < y ^ S n.
Proof.
intros x0 lt; induction n as [|n IH]; [simpl; lra|].
change (x ^ S (S n)) with (x * x ^ S n); change (y ^ S (S n)) with (y * y ^ S n).
pose proof (pow_le x (S n) x0); nra.
Qed.

Lemma even_power_nonneg x n : Nat.even n = true -> 0 <= x ^ n.
Proof.
intros E; apply Nat.even_spec in E as [k ->]; rewrite pow_mult; apply pow_le; simpl; nra.
Qed.

Lemma even_power_sound b n x : Nat.even (S n) = true -> within b x ->
  within (Bounds (Some (0%Q, negative b)) None) (x ^ S n).
Proof.
intros E A; pose proof (even_power_nonneg x _ E); split; simpl; trivial.
destruct (negative b) eqn:G; rational; [|exact H].
pose proof (negative_sound _ _ G A); pose proof (pow_nonzero x (S n) ltac:(lra)); simpl in *; lra.
Qed.

Theorem power_sound b n x : within b x -> within (power_bounds n b) (x ^ n).
Proof.
intros A; destruct n as [|n]; [simpl; rewrite <- Q2R_1; apply exactly_sound|].
unfold power_bounds; destruct (low b) as [[p s]|] eqn:L.
- destruct (Qle_bool 0 p) eqn:P.
  + compared; rational; destruct A as [A B]; rewrite L in A; pose proof (above_le _ _ _ A) as le; split.
    * cbn [low above]; destruct s; rewrite Q2R_pow; [apply pow_lt_pow | apply pow_incr]; simpl in A; lra.
    * cbn [high]; destruct (high b) as [[q t]|]; [|exact I]; cbn [below]; pose proof (below_le _ _ _ B).
      destruct t; rewrite Q2R_pow; [apply pow_lt_pow | apply pow_incr]; simpl in B; lra.
  + destruct (Nat.even (S n)) eqn:E; [now apply even_power_sound | apply everything_sound].
- destruct (Nat.even (S n)) eqn:E; [now apply even_power_sound | apply everything_sound].
Qed.

(** A product of a number by itself is its square. *)
Corollary square_sound b x : within b x -> within (power_bounds 2 b) (x * x).
Proof. intros A; replace (x * x) with (x ^ 2) by ring; now apply power_sound. Qed.

(** ** Elementary functions *)
Definition exp_bounds (b : bounds) : bounds :=
  Bounds (if nonnegative b then Some (1%Q, positive b) else Some (0%Q, true))
    (if at_most 0 b then Some (1%Q, negative b) else None).

Theorem exp_sound b x : within b x -> within (exp_bounds b) (exp x).
Proof.
intros A; pose proof (exp_pos x) as X; pose proof (exp_ge x) as G; split; simpl.
- destruct (nonnegative b) eqn:N; simpl; rational; [|exact X].
  pose proof (nonnegative_sound _ _ N A); destruct (positive b) eqn:P; [|simpl; rational; lra].
  pose proof (positive_sound _ _ P A); simpl; rational; lra.
- destruct (at_most 0 b) eqn:N; [|exact I]; pose proof (at_most_sound _ _ _ N A) as le; rational.
  destruct (negative b) eqn:P; simpl; rational; [|now apply exp_le_1].
  apply exp_lt_1, (negative_sound _ _ P A).
Qed.

(** e^x, or 0 where a mask holds -oo. *)
Definition masked_exp_bounds (b : bounds) := hull (exp_bounds b) (exactly 0).
Theorem masked_exp_sound b x : x = 0 \/ (exists y, within b y /\ x = exp y) -> within (masked_exp_bounds b) x.
Proof.
intros [->|[y [A ->]]]; apply hull_sound; [right; rewrite <- Q2R_0; apply exactly_sound | left; now apply exp_sound].
Qed.

Definition expm1_bounds (b : bounds) := sub (exp_bounds b) (exactly 1).
Theorem expm1_sound b x : within b x -> within (expm1_bounds b) (exp x - 1).
Proof. intros A; rewrite <- Q2R_1; apply sub_sound; [now apply exp_sound | apply exactly_sound]. Qed.

Definition log_bounds (b : bounds) : bounds :=
  if at_most 1 b then Bounds None (Some (0%Q, positive (sub (exactly 1) b)))
  else if at_least 1 b then Bounds (Some (0%Q, above_value 1 b)) None else everything.

Theorem log_sound b x : 0 < x -> within b x -> within (log_bounds b) (ln x).
Proof.
intros X A; unfold log_bounds; destruct (at_most 1 b) eqn:M; [|destruct (at_least 1 b) eqn:L; [|apply everything_sound]].
- pose proof (at_most_sound _ _ _ M A) as le; rational; split; simpl; trivial.
  destruct (positive _) eqn:P; rational.
  + pose proof (positive_sound _ _ P (sub_sound _ _ _ _ (exactly_sound 1) A)) as lt; rational.
    rewrite <- ln_1; apply ln_increasing; lra.
  + destruct le as [lt| ->]; [left; rewrite <- ln_1; now apply ln_increasing | rewrite ln_1; lra].
- pose proof (at_least_sound _ _ _ L A) as le; rational; split; simpl; trivial.
  destruct (above_value 1 b) eqn:P; rational.
  + pose proof (above_value_sound _ _ _ P A) as lt; rational; rewrite <- ln_1; apply ln_increasing; lra.
  + destruct le as [lt|<-]; [left; rewrite <- ln_1; apply ln_increasing; lra | rewrite ln_1; lra].
Qed.

Definition log1p_bounds (b : bounds) := log_bounds (add b (exactly 1)).
Theorem log1p_sound b x : -1 < x -> within b x -> within (log1p_bounds b) (ln (x + 1)).
Proof. intros X A; apply log_sound; [lra | rewrite <- Q2R_1; apply add_sound; [exact A | apply exactly_sound]]. Qed.

Definition sqrt_bounds (b : bounds) := Bounds (Some (0%Q, positive b)) None.
Theorem sqrt_sound b x : within b x -> within (sqrt_bounds b) (sqrt x).
Proof.
intros A; split; simpl; trivial; destruct (positive b) eqn:P; rational; [|apply sqrt_pos].
apply sqrt_lt_R0, (positive_sound _ _ P A).
Qed.

Definition positive_line := Bounds (Some (0%Q, true)) None.
Theorem rsqrt_sound x : 0 < x -> within positive_line (/ sqrt x).
Proof. intros X; split; simpl; trivial; rational; apply Rinv_0_lt_compat, sqrt_lt_R0, X. Qed.
Theorem softplus_sound beta x : 0 < beta -> within positive_line (/ beta * ln (1 + exp (beta * x))).
Proof. intros B; split; simpl; trivial; rational; now apply softplus_pos. Qed.

Definition unit_open := Bounds (Some (0%Q, true)) (Some (1%Q, true)).
Theorem sigmoid_sound x : within unit_open (sigmoid x).
Proof. pose proof (sigmoid_range x); split; simpl; rational; lra. Qed.

Definition minus_one := qopp 1.
Definition unit_closed := Bounds (Some (minus_one, false)) (Some (1%Q, false)).
Theorem sin_sound x : within unit_closed (sin x).
Proof. pose proof (SIN_bound x); split; simpl; unfold minus_one; rational; lra. Qed.
Theorem cos_sound x : within unit_closed (cos x).
Proof. pose proof (COS_bound x); split; simpl; unfold minus_one; rational; lra. Qed.

(** Functions between -1 and 1 that have the sign of x: tanh and erf. *)
Definition odd_like (f : R -> R) : Prop :=
  (forall x, -1 < f x < 1) /\ (forall x, 0 < x -> 0 < f x) /\ (forall x, x < 0 -> f x < 0) /\ f 0 = 0.
Definition odd_bounds (b : bounds) : bounds :=
  Bounds (if nonnegative b then Some (0%Q, positive b) else Some (minus_one, true))
    (if at_most 0 b then Some (0%Q, negative b) else Some (1%Q, true)).

Theorem odd_sound f b x : odd_like f -> within b x -> within (odd_bounds b) (f x).
Proof.
intros [range [pos [neg_ zero]]] A; pose proof (range x); split; simpl.
- destruct (nonnegative b) eqn:N; [|simpl; unfold minus_one; rational; lra].
  pose proof (nonnegative_sound _ _ N A) as le; destruct (positive b) eqn:P; simpl; rational.
    apply pos, (positive_sound _ _ P A).
  destruct le as [lt|<-]; [left; now apply pos | lra].
- destruct (at_most 0 b) eqn:N; [|simpl; rational; lra].
  pose proof (at_most_sound _ _ _ N A) as le; rational; destruct (negative b) eqn:P; simpl; rational.
    apply neg_, (negative_sound _ _ P A).
  destruct le as [lt| ->]; [left; now apply neg_ | lra].
Qed.

Lemma tanh_odd_like : odd_like tanh.
Proof.
split; [exact tanh_range|]; split; [|split].
- intros x X; rewrite <- tanh_is; unfold tanh_; pose proof (sigmoid_half_lt (2 * x) ltac:(lra)); lra.
- intros x X; rewrite <- tanh_is; unfold tanh_; pose proof (sigmoid_half_lt (- (2 * x)) ltac:(lra)) as H.
  rewrite sigmoid_opp in H; lra.
- rewrite <- tanh_is; unfold tanh_, sigmoid; rewrite Rmult_0_r, Ropp_0, exp_0; lra.
Qed.
Corollary tanh_sound b x : within b x -> within (odd_bounds b) (tanh x).
Proof. apply odd_sound, tanh_odd_like. Qed.

(** x times a factor between 0 and 1, above a least value: silu, mish and both forms of gelu. *)
Definition gate_like (floor : Q) (f : R -> R) : Prop :=
  (forall x, Q2R floor < f x) /\ (forall x, 0 < x -> 0 < f x) /\ f 0 = 0.
Definition gate_bounds (floor : Q) (b : bounds) : bounds :=
  Bounds (if nonnegative b then Some (0%Q, positive b) else Some (floor, true)) None.

Theorem gate_sound floor f b x : gate_like floor f -> within b x -> within (gate_bounds floor b) (f x).
Proof.
intros [least_ [pos zero]] A; split; simpl; trivial; destruct (nonnegative b) eqn:N; simpl; [|apply least_].
pose proof (nonnegative_sound _ _ N A) as le; destruct (positive b) eqn:P; rational.
  apply pos, (positive_sound _ _ P A).
destruct le as [lt|<-]; [left; now apply pos | lra].
Qed.

Lemma Q2R_frac n d : Q2R (n # d) = IZR n / IZR (Zpos d).
Proof. reflexivity. Qed.

Lemma silu_gate : gate_like (-3 # 10) silu.
Proof.
split; [|split; [exact silu_pos | unfold silu; lra]].
intros x; rewrite Q2R_frac; pose proof (silu_least x); lra.
Qed.
Lemma mish_gate : gate_like (-1 # 3) mish.
Proof.
split; [|split; [|unfold mish; lra]].
- intros x; rewrite Q2R_frac; pose proof (mish_least x); lra.
- intros x X; unfold mish; pose proof (mish_factor x); nra.
Qed.
Lemma tanh_gelu_gate : gate_like (-1 # 5) (tanh_gelu (sqrt (2 / PI))).
Proof.
split; [|split; [|unfold tanh_gelu; lra]].
- intros x; rewrite Q2R_frac; pose proof (tanh_gelu_least _ x tanh_gelu_constant); lra.
- intros x X; unfold tanh_gelu; pose proof (sigmoid_range (2 * (sqrt (2 / PI) * (x + 44715 / 1000000 * x ^ 3)))); nra.
Qed.

(** ** Functions with kinks *)
Definition relu_bounds (b : bounds) : bounds :=
  if nonnegative b then b else if at_most 0 b then exactly 0 else Bounds (Some (0%Q, false)) (high b).
Theorem relu_sound b x : within b x -> within (relu_bounds b) (Rmax x 0).
Proof.
intros A; unfold relu_bounds; destruct (nonnegative b) eqn:N; [|destruct (at_most 0 b) eqn:M].
- rewrite Rmax_left; [exact A | exact (nonnegative_sound _ _ N A)].
- pose proof (at_most_sound _ _ _ M A); rational; rewrite Rmax_right by lra; rewrite <- Q2R_0; apply exactly_sound.
- split; simpl; [rational; apply Rmax_r|]; destruct A as [A B]; unfold at_most in M.
  destruct (high b) as [[q s]|]; [|exact I]; compared; rational; destruct s; simpl in *; apply Rmax_case; lra.
Qed.

Definition abs_bounds (b : bounds) : bounds :=
  if nonnegative b then b else if at_most 0 b then neg b else Bounds (Some (0%Q, false)) None.
Theorem abs_sound b x : within b x -> within (abs_bounds b) (Rabs x).
Proof.
intros A; unfold abs_bounds; destruct (nonnegative b) eqn:N; [|destruct (at_most 0 b) eqn:M].
- rewrite Rabs_pos_eq; [exact A | exact (nonnegative_sound _ _ N A)].
- pose proof (at_most_sound _ _ _ M A); rational; rewrite Rabs_left1 by lra; now apply neg_sound.
- split; simpl; trivial; rational; apply Rabs_pos.
Qed.

Definition leaky (slope : Q) (x : R) : R := if Rle_dec x 0 then x * Q2R slope else x.
Definition leaky_bounds (slope : Q) (b : bounds) : bounds :=
  if nonnegative b then b else if at_most 0 b then scaled slope b else hull b (scaled slope b).
Theorem leaky_sound slope b x : within b x -> within (leaky_bounds slope b) (leaky slope x).
Proof.
intros A; unfold leaky_bounds, leaky; destruct (nonnegative b) eqn:N; [|destruct (at_most 0 b) eqn:M].
- pose proof (nonnegative_sound _ _ N A); destruct (Rle_dec x 0); [|exact A].
  replace x with 0 in * by lra; now rewrite Rmult_0_l.
- pose proof (at_most_sound _ _ _ M A); rational; destruct (Rle_dec x 0); [now apply scaled_sound | lra].
- apply hull_sound; destruct (Rle_dec x 0); [right; now apply scaled_sound | now left].
Qed.
(** With slope 1 it is x. *)
Lemma leaky_one slope x : Q2R slope = 1 -> leaky slope x = x.
Proof. intros E; unfold leaky; destruct (Rle_dec x 0); rewrite ?E; lra. Qed.

Definition elu (scale : Q) (x : R) : R := if Rle_dec x 0 then Q2R scale * (exp x - 1) else x.
Definition elu_bounds (scale : Q) (b : bounds) : bounds :=
  if nonnegative b then b else if qlt 0 scale then Bounds (Some (qopp scale, true)) None else everything.
Theorem elu_sound scale b x : within b x -> within (elu_bounds scale b) (elu scale x).
Proof.
intros A; unfold elu_bounds, elu; destruct (nonnegative b) eqn:N; [|destruct (qlt 0 scale) eqn:S; [|apply everything_sound]].
- pose proof (nonnegative_sound _ _ N A); destruct (Rle_dec x 0); [|exact A].
  replace x with 0 in * by lra; rewrite exp_0; replace (Q2R scale * (1 - 1)) with 0 by lra; exact A.
- compared; rational; pose proof (exp_pos x); split; simpl; trivial; rational; destruct (Rle_dec x 0); nra.
Qed.

(** ** Whole numbers *)
Definition whole (x : R) : R := IZR (Int_part x).  (* the greatest integer that is at most x *)
Lemma whole_range x : whole x <= x < whole x + 1.
Proof. unfold whole; pose proof (base_Int_part x); lra. Qed.
Lemma whole_greatest x z : IZR z <= x -> IZR z <= whole x.
Proof.
intros le; pose proof (whole_range x); unfold whole in *; apply IZR_le.
assert (z < Int_part x + 1)%Z by (apply lt_IZR; rewrite plus_IZR; lra); lia.
Qed.

Lemma Qfloor_R q : IZR (Qfloor q) <= Q2R q.
Proof. rewrite <- Q2R_Z; apply Qle_Rle, Qfloor_le. Qed.
Lemma Qfloor_R_lt q : Q2R q < IZR (Qfloor q) + 1.
Proof.
pose proof (Qlt_Rlt _ _ (Qlt_floor q)) as H; rewrite Q2R_Z, plus_IZR in H; exact H.
Qed.

Definition floor_end (e : end_) : end_ := match e with Some (q, _) => Some (inject_Z (Qfloor q), false) | None => None end.
Definition floor_bounds (b : bounds) := Bounds (floor_end (low b)) (floor_end (high b)).
Theorem floor_sound b x : within b x -> within (floor_bounds b) (whole x).
Proof.
intros [A B]; pose proof (whole_range x); split; simpl.
- destruct (low b) as [[q s]|]; [|exact I]; simpl; rational.
  apply whole_greatest; pose proof (Qfloor_R q); pose proof (above_le _ _ _ A); lra.
- destruct (high b) as [[q s]|]; [|exact I]; simpl; rational.
  pose proof (below_le _ _ _ B); pose proof (Qfloor_R_lt q); unfold whole in *; apply IZR_le.
  assert (Int_part x < Qfloor q + 1)%Z by (apply lt_IZR; rewrite plus_IZR; lra); lia.
Qed.

(** The quotient rounded down, and the remainder of a whole number. *)
Definition quotient_bounds (n : BinNums.positive) (b : bounds) := floor_bounds (scaled (1 # n) b).
Theorem quotient_sound n b x : within b x -> within (quotient_bounds n b) (whole (x / IZR (Zpos n))).
Proof.
intros A; apply floor_sound; replace (x / IZR (Zpos n)) with (x * Q2R (1 # n)); [now apply scaled_sound|].
rewrite Q2R_frac; unfold Rdiv; ring.
Qed.

Definition remainder_bounds (n : BinNums.positive) := Bounds (Some (0%Q, false)) (Some (inject_Z (Zpos n - 1), false)).
Theorem remainder_sound n z : within (remainder_bounds n) (IZR z - IZR (Zpos n) * whole (IZR z / IZR (Zpos n))).
Proof.
assert (P : 0 < IZR (Zpos n)) by (apply IZR_lt; lia).
pose proof (whole_range (IZR z / IZR (Zpos n))) as [A B].
assert (E : IZR z = IZR (Zpos n) * (IZR z / IZR (Zpos n))) by (field; lra).
set (w := whole _) in *.
assert (0 <= IZR z - IZR (Zpos n) * w < IZR (Zpos n)) as [C D].
  rewrite E at 1 2; rewrite <- Rmult_minus_distr_l; split; [apply Rmult_le_pos; lra|].
  rewrite <- (Rmult_1_r (IZR (Zpos n))) at 3; apply Rmult_lt_compat_l; lra.
split; cbn [remainder_bounds low high above below]; rational; [exact C|].
unfold w, whole in D |- *; rewrite <- mult_IZR, <- minus_IZR in D; rewrite <- mult_IZR, <- minus_IZR.
apply lt_IZR in D; apply IZR_le; lia.
Qed.

(** ** Softmax: an entry of a row of positive numbers over their sum, some of them masked *)
Definition softmax_bounds (alone masked : bool) : bounds :=
  if alone then exactly 1 else Bounds (Some (0%Q, negb masked)) (Some (1%Q, negb masked)).

(** [e]: the exponentials of the row, 0 where a mask holds -oo; [i]: the entry.  [alone]: the row has one entry. *)
Theorem softmax_sound (es : list R) i alone masked : (forall e, In e es -> 0 <= e) -> 0 < total es ->
  (i < length es)%nat -> (alone = true -> length es = 1%nat) -> (alone = false -> masked = false -> (1 < length es)%nat) ->
  (masked = false -> forall e, In e es -> 0 < e) -> within (softmax_bounds alone masked) (nth i es 0 / total es).
Proof.
intros ge0 pos lt one more unmasked; set (e := nth i es 0).
assert (IN : In e es) by (apply nth_In; exact lt).
assert (rest : forall l, (forall e, In e l -> 0 <= e) -> 0 <= total l).
  induction l as [|y l IH]; simpl; intros H; [lra|].
  pose proof (H y (or_introl eq_refl)); assert (0 <= total l) by (apply IH; auto); lra.
assert (le : forall l, (forall e, In e l -> 0 <= e) -> In e l -> e <= total l).
  induction l as [|y l IH]; simpl; intros H K; [destruct K|].
  destruct K as [->|K]; [pose proof (rest l ltac:(auto)); lra|].
  pose proof (H y (or_introl eq_refl)); assert (e <= total l) by (apply IH; auto); lra.
unfold softmax_bounds; destruct alone.
- specialize (one eq_refl); destruct es as [|y [|z es]]; try discriminate.
  assert (e = total [y]) as -> by (simpl in *; destruct IN as [<-|[]]; lra).
  replace (total [y] / total [y]) with (Q2R 1) by (rational; field; lra); apply exactly_sound.
- assert (pe := ge0 e IN); assert (te := le es ge0 IN); split; simpl.
  + destruct masked; simpl; rational.
      apply Rmult_le_pos; [exact pe | left; now apply Rinv_0_lt_compat].
    apply Rdiv_lt_0_compat; [now apply unmasked | exact pos].
  + assert (E : e = e / total es * total es) by (field; lra); set (share := e / total es) in *.
    destruct masked; simpl; rational; [nra|]; specialize (unmasked eq_refl).
    assert (strict : forall l, (1 < length l)%nat -> (forall e, In e l -> 0 < e) -> In e l -> e < total l).
      intros l L H K; destruct l as [|y [|z l]]; simpl in L; try lia; simpl in *.
      assert (0 <= total l) by (apply rest; intros; left; auto).
      pose proof (H y ltac:(auto)); pose proof (H z ltac:(auto)).
      destruct K as [<-|[<-|K]]; [lra | lra|].
      assert (e <= total l) by (apply le; [intros; left; auto | exact K]); lra.
    pose proof (strict es ltac:(auto) unmasked IN); nra.
Qed.
