(** * A checker of classes of smoothness on captured networks ([proofs.regularity], docs/theory.md, "Lemmas")

    Beside bounds and masks ([Checker]) a file claims of every node how its entries depend on the parameters: not at all, as
    a polynomial, analytically, n times continuously differentiably, or with jumps.  [derive_class] says what follows of an
    operation from the classes of its arguments and from their bounds; [Smoothness.classes_hold] that it is right. *)

From Coq Require Import QArith NArith List Bool.
From Sipit Require Import Intervals Tensors Meaning Checker.
Import ListNotations.

Inductive smoothness := Polynomial | Analytic | C (n : nat).

(** [Still]: the same for all parameters. [Jumping]: a real number, and no more is said. *)
Inductive regularity := Still | Smooth (s : smoothness) | Jumping.

(** Whether what is of the first class is of the second. *)
Definition at_least_as_smooth (s s' : smoothness) : bool :=
  match s, s' with
  | Polynomial, _ | Analytic, (Analytic | C _) => true
  | C n, C m => Nat.leb m n
  | _, _ => false
  end.
Definition at_least_as_regular (r r' : regularity) : bool :=
  match r, r' with
  | Still, _ | _, Jumping => true
  | Smooth s, Smooth s' => at_least_as_smooth s s'
  | _, _ => false
  end.

Definition worse (r r' : regularity) : regularity := if at_least_as_regular r r' then r' else r.
Definition analytic_of (r : regularity) : regularity := worse r (Smooth Analytic).
Definition kinked (r : regularity) (n : nat) : regularity := worse r (Smooth (C n)).

(** Of max(u, 0) the class of u is kept too: a power of it is smoother than itself. *)
Record graded := Graded { grade : regularity; inside : option regularity }.
Definition no_grade := Graded Jumping None.

Definition worst (gs : list graded) : regularity := fold_right (fun g r => worse (grade g) r) Still gs.
Definition is_still (r : regularity) : bool := match r with Still => true | _ => false end.

(** What is chosen by indices or by a condition jumps with them, unless they are fixed. *)
Definition chosen_by (by_ : graded) (r : regularity) : regularity := if is_still (grade by_) then r else Jumping.

Definition power_class (n : nat) (g : graded) : regularity :=
  match inside g with
  | Some r => let r' := kinked r (pred n) in
      if Nat.leb 2 n && at_least_as_regular r' (grade g) then r' else grade g
  | None => grade g
  end.

Definition stays_above (q : option Q) (b : bounds) : bool := match q with None => true | Some q => at_least q b end.
Definition stays_below (q : option Q) (b : bounds) : bool := match q with None => true | Some q => at_most q b end.

Definition unary_class (u : unary) (b : bounds) (g : graded) : regularity :=
  let r := grade g in
  match u with
  | Neg | Convert => r
  | Sqrt => if positive b then analytic_of r else kinked r 0
  | Relu => if nonnegative b then r else if at_most 0 b then Still else kinked r 0
  | Absolute => if nonnegative b || at_most 0 b then r else kinked r 0
  | LeakyRelu slope =>
      if Qeq_bool slope 1 || nonnegative b then r
      else if at_most 0 b then if Qeq_bool slope 0 then Still else r else kinked r 0
  | Elu scale =>
      if nonnegative b then r else if at_most 0 b then analytic_of r else kinked r (if Qeq_bool scale 1 then 1 else 0)
  | Clamp lo hi => if stays_above lo b && stays_below hi b then r else kinked r 0
  | Power n => power_class n g
  | Floor | WholeQuotient _ | Remainder _ | Opposite => Jumping
  | _ => analytic_of r
  end.

(** The larger of two, unless it is known which one that is. *)
Definition larger_class (x y : bounds) (r r' : regularity) : regularity :=
  if nonnegative (sub x y) then r else if at_most 0 (sub x y) then r' else kinked (worse r r') 0.

Definition binary_class (b : binary) (same : bool) (x y : bounds) (g g' : graded) : regularity :=
  let r := worse (grade g) (grade g') in
  match b with
  | Add | Subtract => r
  | Multiply => if same then power_class 2 g else r
  | Divide => if is_still (grade g') then grade g else analytic_of r
  | Maximum => larger_class x y (grade g) (grade g')
  | Minimum => larger_class (neg x) (neg y) (grade g) (grade g')
  | _ => Jumping
  end.

Definition moving_class (o : op) (cs : list cell) (ls : list line) (gs : list graded) (same : bool) : regularity :=
  match o, cs, ls, gs with
  | Moved _, _, _, _ | Sum _ _, _, _, _ | Mean _ _, _, _, _ | CumulativeSum _, _, _, _ | MatMul, _, _, _ => worst gs
  | Unary u, _, [l], [g] => unary_class u (limits l) g
  | Binary b, [c; c'], [l; l'], [g; g'] =>
      if unmasked l && unmasked l' then binary_class b same (limits l) (limits l') g g'
      else match b with
           | Maximum => if wholly_masked (typed c') l' then grade g else grade g'
           | _ => worst gs
           end
  | Softmax _, _, _, _ | LogSumExp _, _, _, _ | LayerNorm _ _, _, _, _ => analytic_of (worst gs)
  | Largest axis _, [c], _, _ => if (nth axis (dims (typed c)) 0 =? 1)%N then worst gs else kinked (worst gs) 0
  | TopValues _ _, _, _, _ => kinked (worst gs) 0
  | Take _, _, _, [g; i] | Gather _, _, _, [g; i] => chosen_by i (grade g)
  | Scatter _, _, _, [g; i; w] => chosen_by i (worse (grade g) (grade w))
  | Select, _, _, [c; g; g'] => chosen_by c (worse (grade g) (grade g'))
  | _, _, _, _ => Jumping
  end.

(** A parameter is a coordinate; what is computed from fixed numbers alone is fixed. *)
Definition derive_class (o : op) (cs : list cell) (ls : list line) (gs : list graded) (same : bool) : regularity :=
  match o with
  | Coordinate _ => Smooth Polynomial
  | Unknown => Jumping
  | _ => if forallb (fun g => is_still (grade g)) gs then Still else moving_class o cs ls gs same
  end.

Definition inside_of (o : op) (gs : list graded) : option regularity :=
  match o, gs with Unary Relu, [g] => Some (grade g) | _, _ => None end.

(** ** The walk *)
Inductive objection := Of_bounds (why : refusal) | Of_class (derived : regularity).

(** A claim of a class stands beside one of bounds; where nothing is claimed of bounds, nothing is of the class. *)
Definition graded_step (n : node) (c : claim) (r : regularity) (before : list cell) (grades : list graded) :
  (cell * graded) + objection :=
  match step n c before with
  | inr why => inr (Of_bounds why)
  | inl new =>
      let cs := pick no_cell before n in
      match c, all_lines cs with
      | Claimed _ _, Some ls =>
          let gs := pick no_grade grades n in
          let derived := derive_class (operation n) cs ls gs (same_arguments n) in
          if at_least_as_regular derived r then inl (new, Graded r (inside_of (operation n) gs)) else inr (Of_class derived)
      | Claimed _ _, None => (* a leaf has no arguments, and of others nothing follows *)
          inr (Of_class Jumping)
      | Nothing, _ => inl (new, no_grade)
      end
  end.

Fixpoint check_classes (g : list (node * claim * regularity)) (before : list cell) (grades : list graded) (index : N) :
  list cell * list graded + (N * objection) :=
  match g with
  | [] => inl (before, grades)
  | (n, c, r) :: rest =>
      match graded_step n c r before grades with
      | inl (new, grade) => check_classes rest (new :: before) (grade :: grades) (N.succ index)
      | inr why => inr (index, why)
      end
  end.

(** What it accepts, [check] accepts too, so that its bounds and masks hold ([Soundness.claims_hold]). *)
Theorem bounds_hold_too g : forall cells grades i cells' grades',
  check_classes g cells grades i = inl (cells', grades') -> check (map fst g) cells i = inl cells'.
Proof.
induction g as [|[[n c] r] g IH]; intros cells grades i cells' grades' C; simpl in C |- *; [now injection C as <- _|].
destruct (graded_step n c r cells grades) as [[new grade_]|] eqn:G; [|discriminate].
assert (S : step n c cells = inl new).
  unfold graded_step in G; destruct (step n c cells); [|discriminate]; destruct c; [now injection G as <- _|].
  destruct (all_lines _); [|discriminate]; destruct (at_least_as_regular _ _); [now injection G as <- _ | discriminate].
rewrite S; exact (IH _ _ _ _ _ C).
Qed.
