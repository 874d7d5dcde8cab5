(** * Captured networks: operations, and what they mean ([proofs.operations], docs/theory.md)

    A network is a list of nodes; an argument is an earlier node.  What an operation computes beyond the facts that the
    bounds use is left open on purpose ([Unspecified]): the theorems hold whatever it is. *)

From Coq Require Import Reals QArith Qreals NArith ZArith List Bool.
From Sipit Require Import Elementary Intervals Tensors.
Import ListNotations.
Local Open Scope R_scope.

Inductive unary :=
| Neg | Exp | Expm1 | Log | Log1p | Sqrt | Rsqrt | Sigmoid | Tanh | Erf | Sin | Cos
| Gelu | TanhGelu | Silu | Mish | Softplus (beta : Q)
| Relu | Absolute | LeakyRelu (slope : Q) | Elu (scale : Q) | Clamp (lo hi : option Q)
| Power (n : nat)
| Floor | WholeQuotient (by_ : BinNums.positive) | Remainder (by_ : BinNums.positive)
| Convert   (* as_real, as_integer *)
| Opposite. (* of a truth value *)

Inductive binary :=
| Add | Subtract | Multiply | Divide | Maximum | Minimum
| Greater | AtMost | Equal | Both | Either.

Inductive op :=
| Tokens (vocabulary : BinNums.positive)
| Coordinate (name : N)   (* a parameter *)
| Given (name : N)        (* a constant whose entries are not written down *)
| Constant (default : option Q) (entries : list (option Q))  (* None: -oo; entries that are not listed are the default *)
| Moved (m : move)
| Unary (u : unary)
| Binary (b : binary)
| Sum (reduced : list bool) (keep : bool)
| Mean (reduced : list bool) (keep : bool)
| CumulativeSum (axis : nat)
| Softmax (axis : nat)
| LogSumExp (axis : nat)
| LayerNorm (axes : nat) (epsilon : Q)
| Largest (axis : nat) (keep : bool)
| TopValues (axis : nat) (how_many : N)
| TopIndices (axis : nat) (how_many : N)
| MatMul
| Take (axis : nat)
| Gather (axis : nat)
| Scatter (axis : nat)
| Select
| Unknown.  (* an operation without a lemma *)

Record node := Node { operation : op; arguments : list nat (* how many places before it; 0: its predecessor *); result : type }.

(** Real functions that Coq's library lacks, and choices whose values do not matter for bounds. *)
Record unspecified := Unspecified {
  erf : R -> R;
  erf_odd : odd_like erf;  (* between -1 and 1, of the sign of its argument *)
  erf_gelu : gate_like (-1 # 5) (fun x => x * (1 + erf (x / sqrt 2)) / 2);  (* x Phi(x) > -1/5, positive for x > 0 *)
  given : N -> N -> R;  (* entries of constants that are not written down *)
  other : op -> list type -> list tensor -> N -> R;   (* what is unknown *)
  chosen : op -> list type -> list tensor -> N -> N;  (* the place of an entry that an ordering picks *)
  writer : op -> list type -> tensor -> N -> option N  (* which of the values indices write at a place, if any *)
}.

Section Meaning.

Variable u_ : unspecified.

Definition truth (b : bool) : R := if b then 1 else 0.
Definition is_true (x : R) : bool := if Req_EM_T x 0 then false else true.

Definition unary_value (u : unary) (x : R) : R :=
  match u with
  | Neg => - x
  | Exp => exp x
  | Expm1 => exp x - 1
  | Log => ln x
  | Log1p => ln (x + 1)
  | Sqrt => sqrt x
  | Rsqrt => / sqrt x
  | Sigmoid => sigmoid x
  | Tanh => tanh x
  | Erf => erf u_ x
  | Sin => sin x
  | Cos => cos x
  | Gelu => x * (1 + erf u_ (x / sqrt 2)) / 2
  | TanhGelu => tanh_gelu (sqrt (2 / PI)) x
  | Silu => silu x
  | Mish => mish x
  | Softplus beta => / Q2R beta * ln (1 + exp (Q2R beta * x))
  | Relu => Rmax x 0
  | Absolute => Rabs x
  | LeakyRelu slope => leaky slope x
  | Elu scale => elu scale x
  | Clamp lo hi => clamp lo hi x
  | Power n => x ^ n
  | Floor => whole x
  | WholeQuotient n => whole (x / IZR (Zpos n))
  | Remainder n => x - IZR (Zpos n) * whole (x / IZR (Zpos n))
  | Convert => x
  | Opposite => truth (negb (is_true x))
  end.

Definition binary_value (b : binary) (x y : R) : R :=
  match b with
  | Add => x + y
  | Subtract => x - y
  | Multiply => x * y
  | Divide => x / y
  | Maximum => Rmax x y
  | Minimum => Rmin x y
  | Greater => truth (if Rlt_dec y x then true else false)
  | AtMost => truth (if Rle_dec x y then true else false)
  | Equal => truth (if Req_EM_T x y then true else false)
  | Both => truth (is_true x && is_true y)
  | Either => truth (is_true x || is_true y)
  end.

(** An entry as a number; where a mask holds -oo this is used by no rule that claims anything. *)
Definition number (x : option R) : R := match x with Some r => r | None => 0 end.
Definition exponential (x : option R) : R := match x with Some r => exp r | None => 0 end.

Definition binary_entry (b : binary) (x y : option R) : option R :=
  match b, x, y with
  | Maximum, Some r, None => Some r
  | Maximum, None, Some r => Some r
  | (Add | Subtract | Maximum), None, _ => None
  | Add, _, None => None
  | _, _, _ => Some (binary_value b (number x) (number y))
  end.

Definition first_arg (vs : list tensor) : tensor := nth 0 vs (fun _ => None).
Definition second_arg (vs : list tensor) : tensor := nth 1 vs (fun _ => None).
Definition third_arg (vs : list tensor) : tensor := nth 2 vs (fun _ => None).
Definition dims_of (i : nat) (ts : list type) : shape := dims (nth i ts (Type_ [] Real)).

Definition numbers (v : tensor) (places : list N) : list R := map (fun k => number (v k)) places.

(** Numbers from the largest on: each is put where it belongs, what is smaller moves on. *)
Fixpoint put_in_order (x : R) (xs : list R) : list R :=
  match xs with [] => [x] | y :: ys => Rmax x y :: put_in_order (Rmin x y) ys end.
Definition ordered (xs : list R) : list R := fold_right put_in_order [] xs.

(** One entry of a layer norm over numbers xs: centred, over the root of the mean square and epsilon. *)
Definition mean_of (xs : list R) : R := total xs / INR (length xs).
Definition normalised (epsilon : Q) (xs : list R) (x : R) : R :=
  (x - mean_of xs) / sqrt (mean_of (map (fun y => (y - mean_of xs) * (y - mean_of xs)) xs) + Q2R epsilon).

(** The coordinate along an axis, in range by [wrap]. *)
Definition along (s : shape) (axis : nat) (k : N) : N := wrap (nth axis s 0%N) (nth axis (unravel s k) 0%N).

(** An entry of an index tensor as a place. *)
Definition place_of (x : option R) : N := Z.to_N (Int_part (number x)).

Variable theta : N -> N -> R.  (* parameters: by name, by place *)
Variable prompt : BinNums.positive -> N -> Z.  (* of a vocabulary, the token at a place *)

(** The entry at place [k] of what [o] makes of the tensors [vs] of types [ts], as a tensor of type [to]. *)
Definition meaning (o : op) (ts : list type) (to : type) (vs : list tensor) (k : N) : option R :=
  let v := first_arg vs in let w := second_arg vs in
  let s := dims_of 0 ts in let t := dims_of 1 ts in let d := dims to in
  match o with
  | Tokens n => Some (IZR (prompt n k))
  | Coordinate name => Some (theta name k)
  | Given name => Some (given u_ name k)
  | Constant default entries => option_map Q2R (entry default (tabulated entries) k)
  | Moved m => let (i, p) := source m (map dims ts) d k in nth i vs v p
  | Unary u =>
      match v k with
      | Some x => Some (unary_value u x)
      | None => Some 0  (* e^-oo; no other function is given a mask *)
      end
  | Binary b => binary_entry b (v (broadcast_place s d k)) (w (broadcast_place t d k))
  | Sum reduced keep => Some (total (numbers v (map (ravel s) (group s reduced keep (unravel d k)))))
  | Mean reduced keep =>
      let xs := numbers v (map (ravel s) (group s reduced keep (unravel d k))) in Some (total xs / INR (length xs))
  | CumulativeSum axis => Some (total (numbers v (firstn (S (N.to_nat (along s axis k))) (row s axis k))))
  | Softmax axis =>
      let es := map (fun p => exponential (v p)) (row s axis k) in
      Some (nth (N.to_nat (along s axis k)) es 0 / total es)
  | LogSumExp axis =>
      let place := wrap (size s) (ravel s (unravel d k)) in Some (ln (total (map (fun p => exponential (v p)) (row s axis place))))
  | LayerNorm axes epsilon =>
      let n := size (skipn (length s - axes) s) in  (* the entries that are normalised together stand side by side *)
      let xs := numbers v (map (fun j => k / n * n + j)%N (range n)) in
      let x := normalised epsilon xs (number (v k)) in
      Some (match vs with
            | _ :: scale :: shift :: _ => x * number (scale (k mod n)%N) + number (shift (k mod n)%N)
            | _ :: scale :: _ => x * number (scale (k mod n)%N)
            | _ => x
            end)
  | Largest axis keep =>
      let places := map (ravel s) (group s (marks (map (fun _ => false) s) axis) keep (unravel d k)) in
      Some (nth 0 (ordered (numbers v places)) 0)
  | TopValues axis _ =>
      let index := unravel d k in
      let i := wrap (nth axis s 0%N) (nth axis index 0%N) in
      Some (nth (N.to_nat i) (ordered (numbers v (row s axis (ravel s index)))) 0)
  | Unknown => Some (other u_ o ts vs k)
  | TopIndices axis _ => Some (IZR (Z.of_N (wrap (nth axis s 0%N) (chosen u_ o ts vs k))))
  | MatMul =>
      let index := unravel d k in
      let r := pred (length d) in  (* the axis of columns; the one before it is that of rows *)
      let x_at j := ravel s (broadcast_index s (set_nth r j index)) in
      let y_at j := ravel t (broadcast_index t (set_nth (pred r) j index)) in
      Some (total (map (fun j => number (v (x_at j)) * number (w (y_at j))) (range (last s 0%N))))
  | Take axis =>
      let index := unravel d k in
      let i := place_of (w (ravel t (firstn (length t) (skipn axis index)))) in
      v (ravel s (firstn axis index ++ i :: skipn (axis + length t) index))
  | Gather axis => v (ravel s (set_nth axis (place_of (w k)) (unravel d k)))
  | Scatter _ => match writer u_ o ts w k with Some p => third_arg vs p | None => v k end
  | Select =>
      if is_true (number (v (broadcast_place s d k)))
      then w (broadcast_place t d k) else third_arg vs (broadcast_place (dims_of 2 ts) d k)
  end.

(** The tensors of all nodes, the last one first. *)
Definition pick {A} (default : A) (before : list A) (n : node) : list A := map (fun j => nth j before default) (arguments n).

Definition tensor_of (n : node) (ts : list type) (vs : list tensor) : tensor :=
  fun k => meaning (operation n) ts (result n) vs (wrap (size (dims (result n))) k).

Definition no_type := Type_ [] Real.
Definition no_tensor : tensor := fun _ => None.

Fixpoint values (g : list node) (types : list type) (before : list tensor) : list tensor :=
  match g with
  | [] => before
  | n :: rest =>
      values rest (result n :: types) (tensor_of n (pick no_type types n) (pick no_tensor before n) :: before)
  end.

End Meaning.
